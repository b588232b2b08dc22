package serve

import (
	"log/slog"
	"net/http"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/extauthz"
	"github.com/interlock-authz/interlock/httpapi/forwardauth"
	"github.com/interlock-authz/interlock/httpapi/forwarded"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

// proxiedService is what the listener for proxies serves, and what reloads its routes.
type proxiedService struct {
	handler http.Handler
	use     func([]routes.Route) error // nil without routes
	config  *config.Config
	close   func()
}

// newProxied makes the service. With routes it answers forward authentication or, for Envoy,
// ext_authz. All other requests go to decisions.
func newProxied(c *config.Config, engine *actors.Engine, connections *httpapi.Connections, decisions http.Handler, log *slog.Logger) (*proxiedService, error) {
	p := &proxiedService{handler: decisions, config: c, close: func() {}}
	if len(c.Proxied.Routes) == 0 {
		return p, nil
	}
	if c.Proxied.Format == forwarded.Envoy {
		s, err := extauthz.New(extauthz.Options{
			Engine: engine, Connections: connections, Header: c.Proxied.Header, Routes: c.Proxied.Routes, Logger: log,
		})
		if err != nil {
			return nil, err
		}
		p.handler, p.use, p.close = s.Handler(decisions), s.Use, s.Close
		return p, nil
	}
	h, err := forwardauth.New(forwardauth.Options{
		Engine: engine, Identifier: connections, Format: c.Proxied.Format, Routes: c.Proxied.Routes, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	p.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == forwardauth.Path {
			h.ServeHTTP(w, r)
			return
		}
		decisions.ServeHTTP(w, r)
	})
	p.use = h.Use
	return p, nil
}

// reload uses the routes for proxies of the configuration file as it is now, or keeps all routes. It
// changes nothing else, such as the format or the proxies.
func (p *proxiedService) reload(log *slog.Logger) {
	if p.use == nil {
		return
	}
	again, err := p.config.Again()
	if again == nil && err == nil {
		return
	}
	if err == nil {
		err = p.use(again.Proxied.Routes)
	}
	if err != nil {
		log.Error("reload failed; the routes for proxies are unchanged", slog.Any("error", err))
		return
	}
	log.Info("routes for proxies loaded", slog.Int("routes", len(again.Proxied.Routes)))
}
