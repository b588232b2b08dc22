// Package store opens the store of a server: a journal on disk, or a log in memory.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/observe"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// Store keeps the policy and the log of its changes.
type Store struct {
	Name    string // for messages
	Log     oplog.Log
	Journal *journal.Journal // nil in memory
	Commits observe.Histogram
}

// Open opens the store that the configuration names; its Data must be set. It keeps at most that many files open, 0 for the
// default. The caller closes the store.
func Open(c *config.Config, openFiles int, log *slog.Logger) (*Store, error) {
	if *c.Data == "" {
		return &Store{Name: "in memory: changes are lost when the server ends", Log: oplog.NewMemory()}, nil
	}
	s := &Store{Name: *c.Data}
	j, err := journal.Open(*c.Data, journal.Options{
		Keep: journal.Keep{Age: c.Keep.Age, Count: c.Keep.Count, MinAge: c.Keep.MinAge}, MaxOpenFiles: openFiles,
		Committed: s.Commits.Add, Logger: log,
	})
	if err != nil {
		return nil, Hint(err)
	}
	s.Log, s.Journal = j, j
	return s, nil
}

// Damage returns the damage that the store has detected, or nil.
func (s *Store) Damage() error {
	if s.Journal == nil {
		return nil
	}
	return s.Journal.Damage()
}

// Close closes the store.
func (s *Store) Close() error {
	if s.Journal == nil {
		return nil
	}
	return s.Journal.Close()
}

// Unrevoke applies a change that takes the revocation of a certificate back, to a store that no server uses. It returns the
// revision.
func Unrevoke(ctx context.Context, data string, change policy.Change) (revision uint64, err error) {
	silent := slog.New(slog.DiscardHandler)
	j, err := journal.Open(data, journal.Options{Existing: true, Logger: silent})
	if err != nil {
		return 0, Hint(err)
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	var revoked bool
	if err := j.View(func(tip policy.View) { revoked = tip.Revoked(change.Certificate) }); err != nil {
		return 0, err
	}
	if !revoked {
		return 0, cli.Hint(fmt.Errorf("%s: certificate %s is not revoked in the store", data, change.Certificate),
			"interlock log shows how a certificate was named when it was revoked")
	}
	engine, err := actors.New(actors.Options{Log: j, Logger: silent})
	if err != nil {
		return 0, Hint(err)
	}
	defer func() { err = errors.Join(err, engine.Close(context.WithoutCancel(ctx))) }()
	receipt, err := engine.Update(ctx, actors.Update{Changes: []policy.Change{change}})
	if err != nil {
		return 0, err
	}
	return receipt.Revision, nil
}

// Hint adds a hint to the error of a store that does not open. It returns every other error, and nil, unchanged.
func Hint(err error) error {
	switch {
	case errors.Is(err, journal.ErrLocked):
		return cli.Hint(err, "stop the other server, or name another folder with --data")
	case errors.Is(err, journal.ErrPermissions):
		return cli.Hint(err, "only the server's own user may read the store")
	case errors.Is(err, journal.ErrLost), errors.Is(err, journal.ErrDamaged), errors.Is(err, journal.ErrStoreID):
		return cli.Hint(err, "restore a backup with interlock restore; interlock store check lists all damage")
	}
	return err
}
