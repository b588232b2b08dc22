package serve

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/store"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/admin"
	"github.com/interlock-authz/interlock/httpapi/authzen"
	"github.com/interlock-authz/interlock/httpapi/orders"
)

// handlers serve the listeners. Several listeners may share a handler.
type handlers struct {
	decisions, administration, operation http.Handler
	gateway                              *gatewayService
	proxied                              *proxiedService
}

func (h *handlers) forCallers() http.Handler        { return h.decisions }
func (h *handlers) forAdministrators() http.Handler { return h.administration }
func (h *handlers) forOperators() http.Handler      { return h.operation }
func (h *handlers) forProxies() http.Handler        { return h.proxied.handler }
func (h *handlers) forGateway() http.Handler        { return h.gateway.gateway }

// newHandlers makes the handlers for an engine. With an API of orders, the handler for callers serves it too.
func newHandlers(c *config.Config, l *listeners, engine *actors.Engine, s *store.Store, o *observers, sample *orders.API, log *slog.Logger) (*handlers, error) {
	base := c.BaseURL
	if base == "" {
		base = l.url(callers)
	}
	decisions, err := newDecisions(engine, l.connections, base, sample, log)
	if err != nil {
		return nil, err
	}
	isCA := func(id policy.CertificateID) bool {
		return l.connections.IsIssuer(id) || l.trust.State().IsCA(id.SHA256, id.Issuer, id.Serial)
	}
	options := admin.Options{IsCA: isCA, Engine: engine, Identifier: l.connections, Issuers: func() []string { return l.trust.State().Issuers() }, UpdateRate: float64(c.UpdateRate), Logger: log}
	if s.Journal != nil {
		options.Store = s.Journal
	}
	proxied, err := newProxied(c, engine, l.connections, decisions, log)
	if err != nil {
		return nil, fmt.Errorf("proxied.routes: %w", err)
	}
	gateway, err := newGateway(c, engine, l.connections, log)
	if err != nil {
		return nil, err
	}
	faults := func() error { return errors.Join(s.Damage(), l.trust.Fault()) }
	return &handlers{
		decisions:      decisions,
		administration: admin.New(options),
		gateway:        gateway,
		proxied:        proxied,
		operation: httpapi.NewOperatorAPI(httpapi.OperatorOptions{
			Engine: engine, Faults: faults, Metrics: metrics(&measured{engine, l.connections, l.trust, s, o.counters, gateway.gateway}), Hosts: c.OperatorHosts,
		}),
	}, nil
}

// close ends what the handlers keep open.
func (h *handlers) close() {
	h.gateway.close()
	h.proxied.close()
}

// newDecisions returns a handler for the decision API and for the API of orders, which may be nil.
func newDecisions(engine *actors.Engine, connections *httpapi.Connections, base string, sample *orders.API, log *slog.Logger) (http.Handler, error) {
	api, err := authzen.New(authzen.Options{Engine: engine, Identifier: connections, BaseURL: base, Logger: log})
	if err != nil || sample == nil {
		return api, err
	}
	r := httpapi.NewRouter(log)
	sample.Register(r, httpapi.NewGuard(engine, connections, log))
	api.Mount(r)
	return r, nil
}
