package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/orders"
)

func serveCommand() *cobra.Command {
	var (
		c    = defaultConfig()
		file string
		dev  bool
		over = defaultConfig()
	)
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server: the decision API (OpenID AuthZEN 1.0) for callers, the admin API for
administrators, both by mutual TLS, and health for operators.

With --dev it makes an authority, certificates and a sample policy in ./.interlock, and
serves a small orders API to try it on. Without, it takes a configuration file, of which
this is a whole example; flags go over it:

` + exampleConfig + `
The policy is kept in memory: changes are lost when the server ends.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file != "" {
				if err := c.load(file); err != nil {
					return err
				}
			}
			overrideFlags(cmd, &c, &over)
			if dev {
				if err := setUpDev(devFolder, &c, cmd.ErrOrStderr()); err != nil {
					return err
				}
			}
			if err := c.check(); err != nil {
				return err
			}
			return serve(cmd.Context(), &c, dev, c.logger(cmd.ErrOrStderr()))
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "config", "", "configuration `file` (YAML)")
	f.BoolVar(&dev, "dev", false, "make what is needed in ./.interlock and serve the sample")
	f.StringVar(&over.Listen, "listen", over.Listen, "`address` for callers")
	f.StringVar(&over.AdminListen, "admin-listen", over.AdminListen, "`address` for administrators")
	f.StringVar(&over.OperatorListen, "operator-listen", over.OperatorListen, "`address` for operators")
	f.StringVar(&over.BaseURL, "base-url", "", "`URL` by which callers reach the server")
	f.StringVar(&over.Policy, "policy", "", "policy `file` to start with")
	f.StringVar(&over.BootstrapAdmin, "bootstrap-admin", "", "`principal` that becomes the first administrator of an empty policy")
	f.StringVar(&over.TLS.Certificate, "tls-certificate", "", "the server's certificate `file`")
	f.StringVar(&over.TLS.Key, "tls-key", "", "the server's key `file`")
	f.StringVar(&over.TLS.ClientCA, "client-ca", "", "`file` with the authorities of callers")
	f.TextVar(&over.Log.Level, "log-level", over.Log.Level, "debug, info, warn or error")
	f.StringVar(&over.Log.Format, "log-format", over.Log.Format, "text or json")
	return cmd
}

// overrideFlags takes over the flags that were given.
func overrideFlags(cmd *cobra.Command, c, over *config) {
	for name, set := range map[string]func(){
		"listen":          func() { c.Listen = over.Listen },
		"admin-listen":    func() { c.AdminListen = over.AdminListen },
		"operator-listen": func() { c.OperatorListen = over.OperatorListen },
		"base-url":        func() { c.BaseURL = over.BaseURL },
		"policy":          func() { c.Policy = over.Policy },
		"bootstrap-admin": func() { c.BootstrapAdmin = over.BootstrapAdmin },
		"tls-certificate": func() { c.TLS.Certificate = over.TLS.Certificate },
		"tls-key":         func() { c.TLS.Key = over.TLS.Key },
		"client-ca":       func() { c.TLS.ClientCA = over.TLS.ClientCA },
		"log-level":       func() { c.Log.Level = over.Log.Level },
		"log-format":      func() { c.Log.Format = over.Log.Format },
	} {
		if cmd.Flags().Changed(name) {
			set()
		}
	}
}

// serve runs the server until ctx is done, then drains it.
func serve(ctx context.Context, c *config, dev bool, log *slog.Logger) error {
	roles, grants, err := c.startPolicy()
	if err != nil {
		return err
	}
	memory, err := actors.NewMemoryWith(roles, grants)
	if err != nil {
		return err
	}
	engine, err := actors.New(actors.Options{Log: memory, MaxQueued: c.MaxQueued, IdleAfter: c.IdleAfter, Logger: log})
	if err != nil {
		return err
	}
	servers, err := listen(c, engine, dev, log)
	if err != nil {
		return errors.Join(err, engine.Close(context.WithoutCancel(ctx)))
	}
	log.Info("serving", slog.String("callers", servers.url("https", 0)), slog.String("administrators", servers.url("https", 1)),
		slog.String("operators", servers.url("http", 2)), slog.Int("roles", len(roles)), slog.Int("grants", len(grants)),
		slog.String("policy", "kept in memory: changes are lost when the server ends"))
	failed := servers.start()
	select {
	case err = <-failed:
	case <-ctx.Done():
		log.Info("shutting down", slog.Duration("drain", c.Drain))
	}
	drained, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Drain)
	defer cancel()
	var closing sync.WaitGroup
	closing.Go(func() { err = errors.Join(err, engine.Close(drained)) })
	closing.Go(func() { servers.stop(c.Drain + time.Second) })
	closing.Wait()
	return err
}

// listeners are the servers with their sockets.
type listeners struct {
	servers []*http.Server
	sockets []net.Listener
}

func listen(c *config, engine *actors.Engine, dev bool, log *slog.Logger) (*listeners, error) {
	identifier, err := certs.NewIdentifier(c.Identity...)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	pool, err := certs.LoadPool(c.TLS.ClientCA)
	if err != nil {
		return nil, err
	}
	tlsConfig, err := certs.ServerConfig(certs.ServerOptions{CertFile: c.TLS.Certificate, KeyFile: c.TLS.Key, ClientCAs: pool})
	if err != nil {
		return nil, err
	}
	callers := httpapi.NewConnections(identifier)
	base := c.BaseURL
	if base == "" {
		base = "https://" + strings.Replace(c.Listen, "127.0.0.1", "localhost", 1)
	}
	decisions, err := decisionHandler(engine, callers, base, dev, log)
	if err != nil {
		return nil, err
	}
	l := &listeners{}
	for _, s := range []struct {
		address string
		handler http.Handler
		tls     *tls.Config
	}{
		{c.Listen, decisions, tlsConfig},
		{c.AdminListen, httpapi.NewAdminAPI(httpapi.AdminOptions{Engine: engine, Callers: callers, Logger: log}), tlsConfig},
		{c.OperatorListen, httpapi.NewOperatorAPI(engine), nil},
	} {
		socket, err := net.Listen("tcp", s.address)
		if err != nil {
			l.stop(0)
			return nil, hint(err, "another server may be running; choose other addresses with --listen, --admin-listen and --operator-listen")
		}
		o := httpapi.ServerOptions{Handler: s.handler, TLS: s.tls, Connections: callers, Logger: log}
		l.servers, l.sockets = append(l.servers, httpapi.NewServer(o)), append(l.sockets, socket)
	}
	return l, nil
}

// decisionHandler serves callers: the decision API and, to try it on, the orders.
func decisionHandler(engine *actors.Engine, callers *httpapi.Connections, base string, dev bool, log *slog.Logger) (http.Handler, error) {
	api, err := httpapi.NewDecisionAPI(httpapi.DecisionOptions{Engine: engine, Connections: callers, BaseURL: base, Logger: log})
	if err != nil || !dev {
		return api, err
	}
	r := httpapi.NewRouter(log)
	orders.New(time.Second, log).Register(r, httpapi.NewGuard(engine, callers, log))
	r.PathPrefix("/").Handler(api)
	return r, nil
}

func (l *listeners) url(scheme string, i int) string {
	return scheme + "://" + l.sockets[i].Addr().String()
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
	for i := range l.servers {
		all.Go(func() {
			if l.servers[i].Shutdown(ctx) != nil {
				_ = l.servers[i].Close() // it was given its time
			}
			_ = l.sockets[i].Close() // closed already, unless it never served
		})
	}
	all.Wait()
}
