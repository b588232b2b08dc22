package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// defaultData is the folder of the store, unless the configuration names another.
const defaultData = "interlock-data"

// store is where the policy is kept: on disk, or in memory when nobody named a folder.
type store struct {
	name    string
	log     oplog.Log
	journal *journal.Journal // nil in memory
}

// dataFolder returns the folder of the store, empty for in memory.
func (c *config) dataFolder(dev bool) string {
	switch {
	case c.Data != nil:
		return *c.Data
	case dev:
		return filepath.Join(cli.DevFolder, "data")
	}
	return defaultData
}

func openStore(c *config, log *slog.Logger) (*store, error) {
	if *c.Data == "" {
		return &store{name: "in memory: changes are lost when the server ends", log: oplog.NewMemory()}, nil
	}
	j, err := journal.Open(*c.Data, journal.Options{
		Keep: journal.Keep{Age: c.Keep.Age, Count: c.Keep.Count}, Logger: log,
	})
	if err != nil {
		return nil, hintStore(err)
	}
	return &store{name: *c.Data, log: j, journal: j}, nil
}

// hintStore says what helps when a store does not open.
func hintStore(err error) error {
	switch {
	case errors.Is(err, journal.ErrLocked):
		return cli.Hint(err, "stop the other server, or name another folder with --data")
	case errors.Is(err, journal.ErrPermissions):
		return cli.Hint(err, "only the server's own user may read the store")
	case errors.Is(err, journal.ErrLost), errors.Is(err, journal.ErrDamaged), errors.Is(err, journal.ErrStoreID):
		return cli.Hint(err, "restore a backup with interlock restore; interlock store check says all that it finds")
	}
	return err
}

// newEngine starts an engine on the store. One that was never written to gets the policy
// that the configuration names; another keeps its own.
func (s *store) newEngine(ctx context.Context, c *config, connections actors.Connections, log *slog.Logger) (*actors.Engine, error) {
	engine, err := actors.New(actors.Options{
		Log: s.log, MaxQueued: c.MaxQueued, IdleAfter: c.IdleAfter, Connections: connections, Logger: log,
	})
	if err != nil {
		return nil, hintStore(err)
	}
	if err := s.begin(ctx, c, engine, log); err != nil {
		return nil, errors.Join(err, engine.Close(context.WithoutCancel(ctx)))
	}
	return engine, nil
}

func (s *store) begin(ctx context.Context, c *config, engine *actors.Engine, log *slog.Logger) error {
	if engine.Revision() > 0 {
		if c.BootstrapAdmin != "" {
			return cli.Hint(fmt.Errorf("bootstrap-admin is for a store without a policy, and %s is at revision %d", s.name, engine.Revision()),
				"leave it out; interlock grant makes another administrator")
		}
		if c.Policy != "" {
			log.Info("the store has a policy of its own; the file is not read",
				slog.String("file", c.Policy), slog.String("hint", "interlock policy apply replaces the policy"))
		}
		return nil
	}
	file, err := c.startPolicy()
	if err != nil {
		return err
	}
	changes := policyfile.Diff(nil, nil, file)
	if len(changes) == 0 {
		return cli.Hint(fmt.Errorf("%s holds no roles and no grants, so nobody could ever change anything", c.Policy),
			"name the first administrator: --bootstrap-admin spiffe://trust-domain/name")
	}
	_, err = engine.Update(ctx, actors.Update{Changes: changes})
	return err
}

// damage returns what is wrong with the store, nil if nothing is known to be.
func (s *store) damage() error {
	if s.journal == nil {
		return nil
	}
	return s.journal.Damage()
}

func (s *store) close() error {
	if s.journal == nil {
		return nil
	}
	return s.journal.Close()
}
