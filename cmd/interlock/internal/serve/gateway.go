package serve

import (
	"log/slog"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/gateway"
)

// gatewayService is the gateway and what reloads it.
type gatewayService struct {
	gateway *gateway.Gateway // nil without routes
	reader  config.GatewayReader
	config  *config.Config
}

// newGateway makes the gateway.
func newGateway(c *config.Config, engine *actors.Engine, callers httpapi.Identifier, log *slog.Logger) (*gatewayService, error) {
	g := &gatewayService{config: c}
	if len(c.Gateway.Routes) == 0 {
		return g, nil
	}
	routes, err := g.reader.Read(&c.Gateway)
	if err != nil {
		return nil, err
	}
	g.gateway, err = gateway.New(routes, gateway.Options{Engine: engine, Identifier: callers, Logger: log})
	return g, err
}

// reload uses the section gateway of the configuration file as it is now, or keeps all routes and
// upstreams. It changes nothing else, such as the address of the listener.
func (g *gatewayService) reload(log *slog.Logger) {
	if g.gateway == nil {
		return
	}
	again, err := g.config.Again()
	if again == nil && err == nil {
		return
	}
	if err == nil {
		var routes gateway.Config
		if routes, err = g.reader.Read(&again.Gateway); err == nil {
			err = g.gateway.Use(routes)
		}
	}
	if err != nil {
		log.Error("reload failed; the routes of the gateway are unchanged", slog.Any("error", err))
		return
	}
	log.Info("routes of the gateway loaded", slog.Int("routes", len(again.Gateway.Routes)))
}

// close closes the gateway.
func (g *gatewayService) close() {
	if g.gateway != nil {
		g.gateway.Close()
	}
}
