package serve

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/orders"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

// devService is what --dev serves: an API of orders, for callers behind a guard, and without a guard
// as the upstream of the gateway.
type devService struct {
	orders *orders.API
	log    *slog.Logger
	socket net.Listener // nil if the configuration has routes of its own
	server *http.Server
}

// newDevService opens a socket for the upstream, and configures the gateway in front of it, unless
// the configuration has routes.
func newDevService(c *config.Config, log *slog.Logger) (*devService, error) {
	d := &devService{orders: orders.New(time.Second, log), log: log}
	if len(c.Gateway.Routes) > 0 {
		return d, nil
	}
	var err error
	if d.socket, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	file := func(name string) string { return filepath.Join(cli.DevFolder, name) }
	c.Gateway.Upstreams = map[string]config.Upstream{"orders": {
		Addresses: []string{d.socket.Addr().String()}, ServerName: "localhost",
		CA: file(devca.CertFile), Certificate: file(devGateway + ".crt"), Key: file(devGateway + ".key"),
	}}
	route := func(method, path, action string) config.Route {
		return config.Route{Upstream: "orders", Route: routes.Route{
			Methods: []string{method}, Path: path, Action: action, Resource: "orders/{id}",
		}}
	}
	write := route(http.MethodPut, "/orders/{id}", "orders:write")
	write.Properties = map[string]routes.Source{"amount": {Header: orders.AmountHeader, Type: "number"}}
	c.Gateway.Routes = []config.Route{
		write, route(http.MethodGet, "/orders/{id}", "orders:read"), route(http.MethodGet, "/orders/{id}/watch", "orders:watch"),
	}
	return d, nil
}

// sample returns the API of orders, nil without --dev.
func (d *devService) sample() *orders.API {
	if d == nil {
		return nil
	}
	return d.orders
}

// start serves the upstream. It answers nothing but the gateway.
func (d *devService) start(trust *certs.Trust) {
	if d.socket == nil {
		return
	}
	api := d.orders.Upstream()
	d.server = &http.Server{
		ReadHeaderTimeout: 5 * time.Second, TLSConfig: trust.ServerConfig(),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !isGateway(r.TLS) {
				http.Error(w, "only the gateway may ask", http.StatusForbidden)
				return
			}
			api.ServeHTTP(w, r)
		}),
	}
	go func() {
		if err := d.server.ServeTLS(d.socket, "", ""); !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("the upstream of the gateway failed", slog.Any("error", err))
		}
	}()
}

func isGateway(state *tls.ConnectionState) bool {
	if state == nil || len(state.VerifiedChains) == 0 {
		return false
	}
	id, err := (&certs.Identifier{}).Identify(state.VerifiedChains[0])
	return err == nil && id.Name == cli.DevTrustDomain+devGateway
}

// close ends the upstream.
func (d *devService) close() {
	switch {
	case d.server != nil:
		_ = d.server.Close()
	case d.socket != nil:
		_ = d.socket.Close()
	}
}
