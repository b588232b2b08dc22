package wire

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/authzen"
	"github.com/interlock-authz/interlock/httpapi/forwarded"
	"github.com/interlock-authz/interlock/httpapi/gateway"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

// The servers, by the names that their children are started with.
const (
	bare        = "bare"
	routed      = "mux"
	execute     = "execute"
	admit       = "admit"
	evaluations = "authzen"
	proxied     = "proxied"
	exchange    = "exchange"
	plainProxy  = "reverseproxy"
	gatewayed   = "gateway"
	nginxProxy  = "nginx"
)

// server is one of the compared servers.
type server struct {
	name  string
	title string // of its row
	// engine means that the handler needs an engine.
	engine  bool
	handler func(parts) (http.Handler, error)
	serve   func(httpapi.ServerOptions) *http.Server
	// question returns the request of that principal.
	question func(who string) question
	// baseline names the server that this one is compared with; empty for none.
	baseline string
}

// parts are the dependencies of a handler.
type parts struct {
	upstream    string // the address of the server behind the proxies
	engine      *actors.Engine
	connections *httpapi.Connections
	log         *slog.Logger
}

// question is the request that a connection repeats, and the only accepted answer. The
// header is in the form "Name: value", empty for none.
type question struct{ method, path, header, body, answer string }

var servers = []*server{
	{bare, "net/http", false, bareHandler, bareServer, readOrder, ""},
	{routed, "mux and identity", false, routedHandler, httpapi.NewServer, readOrder, ""},
	{execute, "Guard, Execute", true, guardedHandler(httpapi.Execute), httpapi.NewServer, readOrder, routed},
	{admit, "Guard, Admit", true, guardedHandler(httpapi.Admit), httpapi.NewServer, readOrder, routed},
	{evaluations, "AuthZEN", true, decisionHandler, httpapi.NewServer, askDecision, ""},
	{proxied, "Guard, Execute, behind a proxy", true, guardedHandler(httpapi.Execute), proxiedServer, readOrder, execute},
	{exchange, "Guard, Execute, certificates exchanged 10 times a second", true, guardedHandler(httpapi.Execute), httpapi.NewServer, readOrder, execute},
	{plainProxy, "ReverseProxy", false, plainProxyHandler, bareServer, readOrder, ""},
	{gatewayed, "gateway", true, gatewayHandler, httpapi.NewServer, readOrder, plainProxy},
	{nginxProxy, "nginx", false, nil, nil, readOrder, gatewayed},
}

func serverNamed(name string) (*server, error) {
	for _, s := range servers {
		if s.name == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: there is no server %.40q to measure", ErrOptions, name)
}

// answerOK is the innermost handler of all servers except the decision API.
var answerOK = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, okAnswer) // the load generator checks the answer
})

const (
	okAnswer = "ok\n"
	route    = "/orders/{id}"
	action   = "orders:read"
)

func bareHandler(parts) (http.Handler, error) { return answerOK, nil }

// bareServer has the settings of [httpapi.NewServer], and no middleware.
func bareServer(o httpapi.ServerOptions) *http.Server {
	s := httpapi.NewServer(o)
	s.Handler, s.ConnContext, s.ConnState = o.Handler, nil, nil
	return s
}

// proxiedServer trusts the ingress of the site.
func proxiedServer(o httpapi.ServerOptions) *http.Server {
	reader, err := forwarded.NewReader(forwarded.RFC9440, "")
	if err != nil {
		panic(err) // the format's own header
	}
	o.Proxied = &httpapi.Proxied{Reader: reader, Proxies: []policy.Principal{policy.MustPrincipal(ingress)}}
	return httpapi.NewServer(o)
}

func routedHandler(p parts) (http.Handler, error) {
	return p.route(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := p.connections.Identify(r); err != nil {
			httpapi.WriteProblem(w, r, err)
			return
		}
		answerOK(w, r)
	})), nil
}

func guardedHandler(mode httpapi.Mode) func(parts) (http.Handler, error) {
	return func(p parts) (http.Handler, error) {
		guard := httpapi.NewGuard(p.engine, p.connections, p.log)
		return p.route(guard.Protect(httpapi.Rule{Action: action, Resource: "orders/{id}", Mode: mode}, answerOK)), nil
	}
}

// plainProxyHandler is a reverse proxy as net/http has it, with enough connections for the load.
func plainProxyHandler(p parts) (http.Handler, error) {
	target := &url.URL{Scheme: "http", Host: p.upstream}
	return &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.SetXForwarded() },
		Transport: &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true},
	}, nil
}

func gatewayHandler(p parts) (http.Handler, error) {
	return gateway.New(gateway.Config{
		Upstreams: map[string]gateway.Upstream{"orders": {Addresses: []string{p.upstream}}},
		Routes:    []gateway.Route{{Upstream: "orders", Route: routes.Route{Methods: []string{http.MethodGet}, Path: route, Action: action, Resource: "orders/{id}"}}},
	}, gateway.Options{Engine: p.engine, Identifier: p.connections, Logger: p.log})
}

func (p parts) route(h http.Handler) http.Handler {
	router := httpapi.NewRouter(p.log)
	router.Handle(route, h).Methods(http.MethodGet)
	return router
}

func decisionHandler(p parts) (http.Handler, error) {
	return authzen.New(authzen.Options{
		Engine: p.engine, Identifier: p.connections, BaseURL: "https://" + serverName, Logger: p.log,
	})
}

func readOrder(string) question {
	return question{method: http.MethodGet, path: "/orders/42", answer: okAnswer}
}

func askDecision(who string) question {
	return question{
		method: http.MethodPost, path: "/access/v1/evaluation",
		body: fmt.Sprintf(`{"subject":{"type":"principal","id":%q},"action":{"name":%q},"resource":{"type":"orders","id":"42"}}`,
			who, action),
		answer: `{"decision":true}` + "\n",
	}
}
