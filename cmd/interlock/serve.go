package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi"
)

func serveCommand() *cobra.Command {
	var (
		c    = defaultConfig()
		file string
		dev  bool
	)
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server: the decision API (OpenID AuthZEN 1.0) for callers, the admin API for
administrators, both behind mutual TLS, and health and metrics for operators.

With --dev it makes a CA, certificates and a sample policy in ./.interlock, and also
serves a small orders API. Without --dev it needs a configuration file. Flags override
the file. This is a complete example:

` + exampleConfig + `
The server keeps every acknowledged change in the folder that data names. With --data ""
it keeps everything in memory, and loses it when it ends.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.prepare(cmd, file, dev); err != nil {
				return err
			}
			return serve(cmd.Context(), &c, dev, c.logger(cmd.ErrOrStderr()))
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `file` (YAML)")
	cmd.Flags().BoolVar(&dev, "dev", false, "make what is missing in ./.interlock and serve the sample")
	c.flags(cmd.Flags())
	return cmd
}

// flags binds flags to the configuration: a flag's default is the value that it has now.
func (c *config) flags(f *pflag.FlagSet) {
	f.StringVar(&c.Listen, "listen", c.Listen, "`address` for callers")
	f.StringVar(&c.AdminListen, "admin-listen", c.AdminListen, "`address` for administrators")
	f.StringVar(&c.OperatorListen, "operator-listen", c.OperatorListen, "`address` for operators")
	f.StringVar(&c.BaseURL, "base-url", c.BaseURL, "`URL` at which callers reach the server")
	f.Var(folder{&c.Data}, "data", "`folder` of the store (default "+defaultData+"); \"\" keeps everything in memory")
	f.StringVar(&c.Policy, "policy", c.Policy, "policy `file` that a new store begins with")
	f.StringVar(&c.BootstrapAdmin, "bootstrap-admin", c.BootstrapAdmin, "`principal` that becomes the first administrator of an empty policy")
	f.StringVar(&c.TLS.Certificate, "tls-certificate", c.TLS.Certificate, "certificate `file` of the server")
	f.StringVar(&c.TLS.Key, "tls-key", c.TLS.Key, "key `file` of the server")
	f.StringVar(&c.TLS.ClientCA, "client-ca", c.TLS.ClientCA, "`file` with the CAs of callers")
	f.TextVar(&c.Log.Level, "log-level", c.Log.Level, "debug, info, warn or error")
	f.StringVar(&c.Log.Format, "log-format", c.Log.Format, "text or json")
}

// loadUnder reads the file and then applies the flags that the command line has set, so that they override the file. The
// flags must be bound to c.
func (c *config) loadUnder(f *pflag.FlagSet, path string) error {
	given := map[string]string{}
	f.Visit(func(flag *pflag.Flag) { given[flag.Name] = flag.Value.String() })
	if err := c.load(path); err != nil {
		return err
	}
	var errs []error
	for name, value := range given {
		errs = append(errs, f.Set(name, value))
	}
	return errors.Join(errs...)
}

// folder is a [pflag.Value] for a name that may be empty; nil means that it is not set.
type folder struct{ name **string }

// String returns the name, empty if it is not set.
func (f folder) String() string {
	if f.name == nil || *f.name == nil {
		return ""
	}
	return **f.name
}

// Set stores the name.
func (f folder) Set(name string) error {
	*f.name = &name
	return nil
}

// Type names the type in help texts.
func (folder) Type() string { return "string" }

// prepare completes the configuration: the file, the flags over it, and the defaults of --dev.
func (c *config) prepare(cmd *cobra.Command, file string, dev bool) error {
	if file != "" {
		if err := c.loadUnder(cmd.Flags(), file); err != nil {
			return err
		}
	}
	data := c.dataFolder(dev)
	c.Data = &data
	if dev {
		if err := setUpDev(cli.DevFolder, c, cmd.ErrOrStderr()); err != nil {
			return err
		}
	}
	return c.check()
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
	if err := prepareListeners(ctx, c, l, engine, s, dev, log); err != nil {
		l.stop(0)
		return errors.Join(err, engine.Close(context.WithoutCancel(ctx)))
	}
	log.Info("serving", append(l.attributes(), slog.Uint64("revision", engine.Revision()), slog.String("store", s.name))...)
	failed := l.start()
	go l.trust.Watch(ctx)
	go reloadOnHangup(ctx, l.trust, log)
	select {
	case err = <-failed:
	case <-ctx.Done():
		log.Info("shutting down", slog.Duration("drain", c.Drain), slog.String("hint", "a second signal ends the server at once"))
	}
	return errors.Join(err, drain(ctx, c, engine, l, log))
}

// prepareListeners connects the listeners with the engine.
func prepareListeners(ctx context.Context, c *config, l *listeners, engine *actors.Engine, s *store, dev bool, log *slog.Logger) error {
	if err := httpapi.UseTrust(ctx, l.trust, l.connections, engine, log); err != nil {
		return err
	}
	h, err := newHandlers(c, l, engine, s, dev, log)
	if err != nil {
		return err
	}
	l.handle(h, c.Connections.limits(), log)
	if dev {
		return writeTarget(cli.DevFolder, l)
	}
	return nil
}

// drain lets running operations end, for [config.Drain] at most, and then cancels the rest. It logs how many it has
// canceled; that is no error.
func drain(ctx context.Context, c *config, engine *actors.Engine, l *listeners, log *slog.Logger) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Drain)
	defer cancel()
	var closing sync.WaitGroup
	closing.Go(func() { l.stop(c.Drain + time.Second) })
	err := engine.Close(limited)
	closing.Wait()
	if left, ok := errors.AsType[*actors.NotQuiescedError](err); ok {
		log.Warn("operations were canceled at shutdown", slog.Int("count", left.Receipt.RunningCount))
		return nil
	}
	return err
}
