package serve

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi"
)

// The names of the listeners. The log uses them as attributes.
const (
	callers        = "callers"
	administrators = "administrators"
	operators      = "operators"
	proxies        = "proxies"
	gateways       = "gateway"
)

// listener is a name, an address, and the handler that answers there.
type listener struct {
	name    string
	address string
	tls     *tls.Config      // nil for plain HTTP
	proxied *httpapi.Proxied // nil unless the clients are proxies
	handler func(*handlers) http.Handler

	socket net.Listener
	server *http.Server
}

// listeners are the listeners of a server and what they share.
type listeners struct {
	trust       *certs.Trust
	closeSource func() error // of trust
	connections *httpapi.Connections
	all         []*listener
	files       openFiles
}

// listen opens all sockets, or none. It runs before the store opens, so that an error in the configuration leaves no store
// behind.
func listen(ctx context.Context, c *config.Config, log *slog.Logger) (*listeners, error) {
	proxied, err := c.Proxied.Options()
	if err != nil {
		return nil, err
	}
	trust, closeSource, err := newTrust(ctx, c, log)
	if err != nil {
		return nil, err
	}
	l := &listeners{trust: trust, closeSource: closeSource, connections: httpapi.NewConnections(trust.State().Identifier())}
	mutual := trust.ServerConfig // a config for each server, because servers modify theirs
	l.all = []*listener{
		{name: callers, address: c.Listen, tls: mutual(), handler: (*handlers).forCallers},
		{name: administrators, address: c.AdminListen, tls: mutual(), handler: (*handlers).forAdministrators},
		{name: operators, address: c.OperatorListen, handler: (*handlers).forOperators},
	}
	if len(c.Gateway.Routes) > 0 {
		l.all = append(l.all, &listener{name: gateways, address: c.Gateway.Listen, tls: mutual(), handler: (*handlers).forGateway})
	}
	if proxied != nil {
		l.all = append(l.all, &listener{name: proxies, address: c.Proxied.Listen, tls: mutual(), proxied: proxied, handler: (*handlers).forProxies})
	}
	shares := len(l.all) - 2 // two are not for callers
	if len(c.Gateway.Routes) > 0 {
		shares++ // the connections to the upstreams
	}
	if l.files, err = currentOpenFiles(shares); err != nil {
		l.stop(0)
		return nil, err
	}
	if err := l.open(); err != nil {
		l.stop(0)
		return nil, err
	}
	return l, nil
}

// open opens the sockets.
func (l *listeners) open() error {
	for _, one := range l.all {
		socket, err := net.Listen("tcp", one.address)
		if errors.Is(err, syscall.EADDRINUSE) {
			return cli.Hint(err, "another server is running; choose other addresses with --listen, --admin-listen, --operator-listen and --gateway-listen")
		}
		if err != nil {
			return err
		}
		one.socket = socket
	}
	return nil
}

// handle makes the servers.
func (l *listeners) handle(h *handlers, limits httpapi.ConnectionLimits, log *slog.Logger) {
	for _, one := range l.all {
		limits := limits
		limits.Max = l.files.connections(one.name, cmp.Or(limits.Max, httpapi.DefaultMaxConnections), log)
		one.server = httpapi.NewServer(httpapi.ServerOptions{
			Handler: one.handler(h), TLS: one.tls, Proxied: one.proxied, Connections: l.connections, Limits: limits, Logger: log,
		})
	}
}

// url returns the URL of the listener with that name, empty if there is none.
func (l *listeners) url(name string) string {
	for _, one := range l.all {
		if one.name == name {
			return one.url()
		}
	}
	return ""
}

// attributes are the names and URLs of the listeners for the log.
func (l *listeners) attributes() (all []any) {
	for _, one := range l.all {
		all = append(all, slog.String(one.name, one.url()))
	}
	return all
}

// url returns the URL at which this machine reaches the listener.
func (l *listener) url() string {
	scheme := "https"
	if l.tls == nil {
		scheme = "http"
	}
	at := l.socket.Addr().(*net.TCPAddr)
	host := at.IP.String()
	if at.IP.IsLoopback() || at.IP.IsUnspecified() {
		host = "localhost"
	}
	return fmt.Sprintf("%s://%s", scheme, net.JoinHostPort(host, fmt.Sprint(at.Port)))
}

// serve serves until the server is shut down, which is no error.
func (l *listener) serve() error {
	var err error
	if l.tls != nil {
		err = l.server.ServeTLS(l.socket, "", "")
	} else {
		err = l.server.Serve(l.socket)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("the listener for %s: %w", l.name, err)
}

// start serves on all listeners. The channel receives the errors of failed listeners.
func (l *listeners) start() <-chan error {
	failed := make(chan error, len(l.all))
	for _, one := range l.all {
		go func() {
			if err := one.serve(); err != nil {
				failed <- err
			}
		}()
	}
	return failed
}

// stop waits for requests to end, for limit at most, and then closes the remaining connections.
func (l *listeners) stop(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var all sync.WaitGroup
	for _, one := range l.all {
		if one.server != nil {
			all.Go(func() {
				if one.server.Shutdown(ctx) != nil {
					_ = one.server.Close()
				}
			})
		}
	}
	all.Wait()
	for _, one := range l.all {
		if one.socket != nil {
			_ = one.socket.Close() // fails if the server has closed it
		}
	}
	_ = l.closeSource() // only reads, so an error loses nothing
}
