package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/store"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// newEngine starts an engine on the store. A store without a policy gets the one that the configuration names; every other
// store keeps its own. The caller closes the engine.
func newEngine(ctx context.Context, c *config.Config, k *kept, connections actors.Connections, log *slog.Logger) (*actors.Engine, error) {
	s := k.store
	engine, err := actors.New(actors.Options{
		Log: s.Log, MaxQueued: c.MaxQueued, IdleAfter: c.IdleAfter, QuiesceAfter: k.settle, Connections: connections,
		Observer: k.observers.observer(), Logger: log,
	})
	if err != nil {
		return nil, store.Hint(err)
	}
	if engine.Revision() > 0 {
		err = keepPolicy(c, s, engine, log)
	} else {
		err = loadPolicy(ctx, c, engine)
	}
	if err != nil {
		return nil, errors.Join(err, engine.Close(context.WithoutCancel(ctx)))
	}
	return engine, nil
}

// keepPolicy rejects a bootstrap administrator for a store that has a policy, and logs that a policy file is ignored.
func keepPolicy(c *config.Config, s *store.Store, engine *actors.Engine, log *slog.Logger) error {
	if c.BootstrapAdmin != "" {
		return cli.Hint(fmt.Errorf("bootstrap-admin is for a store without a policy, and %s is at revision %d", s.Name, engine.Revision()),
			"remove it; interlock grant makes another administrator")
	}
	if c.Policy != "" {
		log.Info("the store has a policy; the policy file is ignored",
			slog.String("file", c.Policy), slog.String("hint", "interlock policy apply replaces the policy"))
	}
	return nil
}

// loadPolicy puts the initial policy into a store without a policy.
func loadPolicy(ctx context.Context, c *config.Config, engine *actors.Engine) error {
	file, err := c.InitialPolicy()
	if err != nil {
		return err
	}
	_, err = engine.Update(ctx, actors.Update{Changes: policyfile.Diff(nil, nil, file)})
	return err
}
