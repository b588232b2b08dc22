// Package serve is the command interlock serve: listeners, engine, store and trust of one server.
package serve

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/store"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/leases"
)

// Command returns the command that runs the server.
func Command() *cobra.Command {
	var (
		c    = config.Default()
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

` + config.Example + `
The server keeps every acknowledged change in the folder that data names. With --data ""
it keeps everything in memory and loses it when it ends.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := prepare(cmd, &c, file, dev); err != nil {
				return err
			}
			return Run(cmd.Context(), &c, dev, c.Log.Logger(cmd.ErrOrStderr()))
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `file` (YAML)")
	cmd.Flags().BoolVar(&dev, "dev", false, "make missing files in ./.interlock and serve the sample policy")
	c.Bind(cmd.Flags())
	return cmd
}

// prepare completes the configuration: the file, the flags over it, and the defaults of --dev.
func prepare(cmd *cobra.Command, c *config.Config, file string, dev bool) error {
	if file != "" {
		if err := c.LoadUnder(cmd.Flags(), file); err != nil {
			return err
		}
	}
	c.SetData(dev)
	if dev {
		if err := setUpDev(cli.DevFolder, c, cmd.ErrOrStderr()); err != nil {
			return err
		}
	}
	return c.Check()
}

// Run runs the server until ctx is done, then waits for remote leases and drains it. With dev, it also serves the orders API and
// writes the target file of interlock-lab race. The configuration must be checked, and its Data must be set.
func Run(ctx context.Context, c *config.Config, dev bool, log *slog.Logger) error {
	var d *devService
	if dev {
		var err error
		if d, err = newDevService(c, log); err != nil {
			return err
		}
		defer d.close()
	}
	l, err := listen(ctx, c, log)
	if err != nil {
		return err
	}
	s, err := store.Open(c, l.files.store, log)
	if err != nil {
		l.stop(0)
		return err
	}
	return errors.Join(serveStore(ctx, c, l, s, d, log), s.Close())
}

// kept is what a server has before its engine, and after it.
type kept struct {
	store     *store.Store
	mark      *leases.Mark  // nil without a data folder
	settle    time.Duration // how long remote leases of an earlier process may be out
	observers *observers
}

func keep(c *config.Config, s *store.Store, log *slog.Logger) (*kept, error) {
	mark, settle, err := openMark(c, log)
	if err != nil {
		return nil, err
	}
	return &kept{s, mark, settle, newObservers(c, log)}, nil
}

// serveStore runs the server on an open store. d is nil without --dev.
func serveStore(ctx context.Context, c *config.Config, l *listeners, s *store.Store, d *devService, log *slog.Logger) error {
	k, err := keep(c, s, log)
	if err != nil {
		l.stop(0)
		return err
	}
	defer k.observers.close()
	engine, err := newEngine(ctx, c, k, l.connections, log)
	if err != nil {
		l.stop(0)
		return err
	}
	h, err := prepareListeners(ctx, c, l, engine, k, d, log)
	if err != nil {
		l.stop(0)
		return errors.Join(err, engine.Close(context.WithoutCancel(ctx)))
	}
	defer h.close()
	log.Info("serving", append(l.attributes(), slog.Uint64("revision", engine.Revision()), slog.String("store", s.Name))...)
	failed := l.start()
	go l.trust.Watch(ctx)
	go reloadOnHangup(ctx, l.trust, h, log)
	stopCanary := h.startCanary(ctx)
	select {
	case err = <-failed:
	case <-ctx.Done():
		log.Info("shutting down", slog.Duration("drain", c.Drain), slog.String("hint", "a second signal ends the server at once"))
	}
	stopCanary()
	return errors.Join(err, h.closeLeases(context.WithoutCancel(ctx), log), drain(ctx, c, engine, l, log))
}

// prepareListeners connects the listeners to the engine.
func prepareListeners(ctx context.Context, c *config.Config, l *listeners, engine *actors.Engine, k *kept, d *devService, log *slog.Logger) (*handlers, error) {
	if err := httpapi.UseTrust(ctx, l.trust, l.connections, engine, log); err != nil {
		return nil, err
	}
	h, err := newHandlers(c, l, engine, k, d.sample(), log)
	if err != nil {
		return nil, err
	}
	l.handle(h, c.Connections.Limits(), log)
	if d != nil {
		d.start(l.trust)
		err = writeTargets(cli.DevFolder, l, d.socket != nil)
	}
	return h, err
}

// drain waits for running operations, for Drain at most, and then cancels the rest. It logs the number of canceled operations
// and does not return an error for them.
func drain(ctx context.Context, c *config.Config, engine *actors.Engine, l *listeners, log *slog.Logger) error {
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
