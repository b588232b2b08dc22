package main

import (
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

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/admin"
	"github.com/interlock-authz/interlock/httpapi/authzen"
	"github.com/interlock-authz/interlock/httpapi/orders"
)

// The listeners, by whom they are for.
const (
	callers = iota
	administrators
	operators
	proxies // may be missing
)

// listeners are the sockets, what they serve with, and the servers once there is an engine.
type listeners struct {
	trust       *certs.Trust
	closeSource func() error     // of trust
	proxied     *httpapi.Proxied // nil without a listener for proxies
	mutual      *tls.Config
	connections *httpapi.Connections
	sockets     []net.Listener
	servers     []*http.Server
}

// listen opens the sockets, all or none. Whatever is wrong with the configuration is found
// here, before a new store is given its first policy.
func listen(ctx context.Context, c *config, log *slog.Logger) (*listeners, error) {
	proxied, err := c.Proxied.options()
	if err != nil {
		return nil, err
	}
	trust, closeSource, err := newTrust(ctx, c, log)
	if err != nil {
		return nil, err
	}
	l := &listeners{
		trust: trust, closeSource: closeSource, proxied: proxied, mutual: trust.ServerConfig(),
		connections: httpapi.NewConnections(trust.State().Identifier()),
	}
	addresses := []string{c.Listen, c.AdminListen, c.OperatorListen}
	if l.proxied != nil {
		addresses = append(addresses, c.Proxied.Listen)
	}
	for _, address := range addresses {
		socket, err := net.Listen("tcp", address)
		if err != nil {
			l.stop(0)
			if errors.Is(err, syscall.EADDRINUSE) {
				err = cli.Hint(err, "another server is running; choose other addresses with --listen, --admin-listen and --operator-listen")
			}
			return nil, err
		}
		l.sockets = append(l.sockets, socket)
	}
	return l, nil
}

// handle makes the servers.
func (l *listeners) handle(c *config, engine *actors.Engine, s *store, dev bool, log *slog.Logger) error {
	base := c.BaseURL
	if base == "" {
		base = l.url(callers)
	}
	decisions, err := decisionHandler(engine, l.connections, base, dev, log)
	if err != nil {
		return err
	}
	options := admin.Options{Engine: engine, Identifier: l.connections, Issuers: func() []string { return l.trust.State().Issuers() }, Logger: log}
	if s.journal != nil {
		options.Store = s.journal
	}
	administration := admin.New(options)
	faults := func() error { return errors.Join(s.damage(), l.trust.Fault()) }
	for i, o := range []httpapi.ServerOptions{
		callers:        {Handler: decisions, TLS: l.mutual},
		administrators: {Handler: administration, TLS: l.mutual.Clone()}, // a server changes its own
		operators:      {Handler: httpapi.NewOperatorAPI(httpapi.OperatorOptions{Engine: engine, Faults: faults, Metrics: metrics(engine, l.connections, l.trust)})},
		proxies:        {Handler: decisions, TLS: l.mutual.Clone(), Proxied: l.proxied},
	} {
		if i < len(l.sockets) {
			o.Connections, o.Limits, o.Logger = l.connections, c.Connections.limits(), log
			l.servers = append(l.servers, httpapi.NewServer(o))
		}
	}
	return nil
}

// decisionHandler serves callers: the decision API and, to try it on, the orders.
func decisionHandler(engine *actors.Engine, connections *httpapi.Connections, base string, dev bool, log *slog.Logger) (http.Handler, error) {
	api, err := authzen.New(authzen.Options{Engine: engine, Identifier: connections, BaseURL: base, Logger: log})
	if err != nil || !dev {
		return api, err
	}
	r := httpapi.NewRouter(log)
	orders.New(time.Second, log).Register(r, httpapi.NewGuard(engine, connections, log))
	api.Mount(r)
	return r, nil
}

// url is how the listener is reached from this machine, if the configuration names no
// host that is reached from others.
func (l *listeners) url(i int) string {
	scheme := "https"
	if i == operators {
		scheme = "http"
	}
	at := l.sockets[i].Addr().(*net.TCPAddr)
	host := at.IP.String()
	if at.IP.IsLoopback() || at.IP.IsUnspecified() {
		host = "localhost"
	}
	return fmt.Sprintf("%s://%s", scheme, net.JoinHostPort(host, fmt.Sprint(at.Port)))
}

// start serves; what comes back on the channel is the first failure.
func (l *listeners) start() <-chan error {
	failed := make(chan error, len(l.servers))
	for i, s := range l.servers {
		go func() {
			var err error
			if s.TLSConfig != nil {
				err = s.ServeTLS(l.sockets[i], "", "")
			} else {
				err = s.Serve(l.sockets[i])
			}
			if !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		}()
	}
	return failed
}

// stop lets requests end, for so long, and then closes what is left.
func (l *listeners) stop(patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var all sync.WaitGroup
	for _, s := range l.servers {
		all.Go(func() {
			if s.Shutdown(ctx) != nil {
				_ = s.Close() // it was given its time
			}
		})
	}
	all.Wait()
	for _, socket := range l.sockets {
		_ = socket.Close() // closed already, unless it never served
	}
	_ = l.closeSource() // it only reads
}
