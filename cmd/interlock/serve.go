package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi"
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

With --dev it makes a CA, certificates and a sample policy in ./.interlock, and
serves a small orders API to try it on. Without, it takes a configuration file, of which
this is a whole example; flags go over it:

` + exampleConfig + `
Every change that was acknowledged is kept in the folder that data names, and outlives the
server. With --data "" everything is kept in memory, and lost when the server ends.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.prepare(cmd, file, &over, dev); err != nil {
				return err
			}
			return serve(cmd.Context(), &c, dev, c.logger(cmd.ErrOrStderr()))
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `file` (YAML)")
	cmd.Flags().BoolVar(&dev, "dev", false, "make what is needed in ./.interlock and serve the sample")
	over.flags(cmd)
	return cmd
}

// flags adds the flags that go over the configuration.
func (c *config) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.Listen, "listen", c.Listen, "`address` for callers")
	f.StringVar(&c.AdminListen, "admin-listen", c.AdminListen, "`address` for administrators")
	f.StringVar(&c.OperatorListen, "operator-listen", c.OperatorListen, "`address` for operators")
	f.StringVar(&c.BaseURL, "base-url", "", "`URL` by which callers reach the server")
	c.Data = f.String("data", defaultData, "`folder` of the store; \"\" keeps everything in memory")
	f.StringVar(&c.Policy, "policy", "", "policy `file` that a new store begins with")
	f.StringVar(&c.BootstrapAdmin, "bootstrap-admin", "", "`principal` that becomes the first administrator of an empty policy")
	f.StringVar(&c.TLS.Certificate, "tls-certificate", "", "the server's certificate `file`")
	f.StringVar(&c.TLS.Key, "tls-key", "", "the server's key `file`")
	f.StringVar(&c.TLS.ClientCA, "client-ca", "", "`file` with the CAs of callers")
	f.TextVar(&c.Log.Level, "log-level", c.Log.Level, "debug, info, warn or error")
	f.StringVar(&c.Log.Format, "log-format", c.Log.Format, "text or json")
}

// prepare puts the configuration together: defaults, file, flags, and what --dev adds.
func (c *config) prepare(cmd *cobra.Command, file string, over *config, dev bool) error {
	if file != "" {
		if err := c.load(file); err != nil {
			return err
		}
	}
	overrideFlags(cmd, c, over)
	data := c.dataFolder(dev)
	c.Data = &data
	if dev {
		if err := setUpDev(cli.DevFolder, c, cmd.ErrOrStderr()); err != nil {
			return err
		}
	}
	return c.check()
}

// overrideFlags takes over the flags that were given.
func overrideFlags(cmd *cobra.Command, c, over *config) {
	for name, set := range map[string]func(){
		"listen":          func() { c.Listen = over.Listen },
		"admin-listen":    func() { c.AdminListen = over.AdminListen },
		"operator-listen": func() { c.OperatorListen = over.OperatorListen },
		"base-url":        func() { c.BaseURL = over.BaseURL },
		"data":            func() { c.Data = over.Data },
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
	l, err := listen(ctx, c, log)
	if err != nil {
		return err
	}
	s, err := openStore(c, log)
	if err != nil {
		l.stop(0)
		return err
	}
	return errors.Join(serveStore(ctx, c, l, s, dev, log), s.close())
}

func serveStore(ctx context.Context, c *config, l *listeners, s *store, dev bool, log *slog.Logger) error {
	engine, err := s.newEngine(ctx, c, l.connections, log)
	if err != nil {
		l.stop(0)
		return err
	}
	err = httpapi.UseTrust(ctx, l.trust, l.connections, engine, log)
	if err == nil {
		err = l.handle(c, engine, s, dev, log)
	}
	if err == nil && dev {
		err = writeTarget(cli.DevFolder, l)
	}
	if err != nil {
		l.stop(0)
		return errors.Join(err, engine.Close(context.WithoutCancel(ctx)))
	}
	where := []any{slog.String("callers", l.url(callers)), slog.String("administrators", l.url(administrators)), slog.String("operators", l.url(operators))}
	if l.proxied != nil {
		where = append(where, slog.String("proxies", l.url(proxies)))
	}
	log.Info("serving", append(where, slog.Uint64("revision", engine.Revision()), slog.String("store", s.name))...)
	failed := l.start()
	go l.trust.Watch(ctx)
	go reloadOnHangup(ctx, l.trust, log)
	select {
	case err = <-failed:
	case <-ctx.Done():
		log.Info("shutting down", slog.Duration("drain", c.Drain), slog.String("hint", "a second signal ends it at once"))
	}
	return errors.Join(err, drain(ctx, c, engine, l, log))
}

// drain lets operations end by themselves, then cancels those that are left. That there
// were some is worth a line in the log, and no failure.
func drain(ctx context.Context, c *config, engine *actors.Engine, l *listeners, log *slog.Logger) error {
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Drain)
	defer cancel()
	var closing sync.WaitGroup
	closing.Go(func() { l.stop(c.Drain + time.Second) })
	err := engine.Close(patience)
	closing.Wait()
	if left, ok := errors.AsType[*actors.NotQuiescedError](err); ok {
		log.Warn("operations were cancelled at shutdown", slog.Int("count", left.Receipt.RunningCount))
		return nil
	}
	return err
}
