// Package store opens the store of a server: a journal on disk, or a log in memory.
package store

import (
	"errors"
	"log/slog"

	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// Store keeps the policy and the log of its changes.
type Store struct {
	Name    string // for messages
	Log     oplog.Log
	Journal *journal.Journal // nil in memory
}

// Open opens the store that the configuration names; its Data must be set. It keeps at most that many files open, 0 for the
// default. The caller closes the store.
func Open(c *config.Config, openFiles int, log *slog.Logger) (*Store, error) {
	if *c.Data == "" {
		return &Store{Name: "in memory: changes are lost when the server ends", Log: oplog.NewMemory()}, nil
	}
	j, err := journal.Open(*c.Data, journal.Options{
		Keep: journal.Keep{Age: c.Keep.Age, Count: c.Keep.Count, MinAge: c.Keep.MinAge}, MaxOpenFiles: openFiles, Logger: log,
	})
	if err != nil {
		return nil, Hint(err)
	}
	return &Store{Name: *c.Data, Log: j, Journal: j}, nil
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
