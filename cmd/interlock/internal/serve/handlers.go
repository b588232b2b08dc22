package serve

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/canary"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/admin"
	"github.com/interlock-authz/interlock/httpapi/authzen"
	"github.com/interlock-authz/interlock/httpapi/leases"
	"github.com/interlock-authz/interlock/httpapi/openapi"
	"github.com/interlock-authz/interlock/httpapi/orders"
)

// handlers serve the listeners. Several listeners may share a handler.
type handlers struct {
	decisions, administration, operation http.Handler
	leases                               *leases.Server // nil without a data folder
	gateway                              *gatewayService
	proxied                              *proxiedService
	canary                               *canary.Canary // nil if it is off
}

func (h *handlers) forCallers() http.Handler        { return h.decisions }
func (h *handlers) forAdministrators() http.Handler { return h.administration }
func (h *handlers) forOperators() http.Handler      { return h.operation }
func (h *handlers) forProxies() http.Handler        { return h.proxied.handler }
func (h *handlers) forGateway() http.Handler        { return h.gateway.gateway }

// newHandlers makes the handlers for an engine. With an API of orders, the handler for callers serves it too.
func newHandlers(c *config.Config, l *listeners, engine *actors.Engine, k *kept, sample *orders.API, log *slog.Logger) (*handlers, error) {
	base := c.BaseURL
	if base == "" {
		base = l.url(callers)
	}
	remote, err := newLeases(c, engine, l.connections, k.mark, log)
	if err != nil {
		return nil, err
	}
	decisions, err := newDecisions(engine, l.connections, base, remote, sample, log)
	if err != nil {
		return nil, err
	}
	isCA := func(id policy.CertificateID) bool {
		return l.connections.IsIssuer(id) || l.trust.State().IsCA(id.SHA256, id.Issuer, id.Serial)
	}
	options := admin.Options{IsCA: isCA, Engine: engine, Identifier: l.connections, Issuers: func() []string { return l.trust.State().Issuers() }, UpdateRate: float64(c.UpdateRate), Logger: log}
	if k.store.Journal != nil {
		options.Store = k.store.Journal
	}
	proxied, err := newProxied(c, engine, l.connections, decisions, log)
	if err != nil {
		return nil, fmt.Errorf("proxied.routes: %w", err)
	}
	gateway, err := newGateway(c, engine, l.connections, log)
	if err != nil {
		return nil, err
	}
	probe, err := newCanary(c, engine, log)
	if err != nil {
		return nil, err
	}
	red := func() error { return violation(probe) }
	faults := func() error { return errors.Join(k.store.Damage(), l.trust.Fault(), red()) }
	return &handlers{
		decisions:      decisions,
		administration: admin.New(options),
		leases:         remote,
		gateway:        gateway,
		proxied:        proxied,
		canary:         probe,
		operation: httpapi.NewOperatorAPI(httpapi.OperatorOptions{
			Engine: engine, Faults: faults, Red: red, Hosts: c.OperatorHosts,
			Metrics: metrics(&measured{engine, l.connections, l.trust, k.store, k.observers.counters, gateway.gateway, remote, probe}),
		}),
	}, nil
}

// close ends what the handlers keep open.
func (h *handlers) close() {
	h.gateway.close()
	h.proxied.close()
}

// newDecisions returns the routes of the listener for callers: the decision API, the document of the listener, and remote
// leases and the API of orders, which may be nil.
func newDecisions(engine *actors.Engine, connections *httpapi.Connections, base string, remote *leases.Server, sample *orders.API, log *slog.Logger) (*mux.Router, error) {
	api, err := authzen.New(authzen.Options{Engine: engine, Identifier: connections, BaseURL: base, Logger: log})
	if err != nil {
		return nil, err
	}
	r := httpapi.NewRouter(log)
	if sample != nil {
		sample.Register(r, httpapi.NewGuard(engine, connections, log))
	}
	if remote != nil {
		remote.Mount(r)
	}
	api.Mount(r)
	r.Handle(openapi.Path, openapi.Callers()).Methods(http.MethodGet)
	return r, nil
}
