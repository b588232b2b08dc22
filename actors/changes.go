package actors

import (
	"context"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Changes calls yield with the delivered updates after a revision, in order, until yield
// returns false. The error is [oplog.ErrNoHistory] if the log keeps none, and wraps
// [oplog.ErrCompacted] if updates after that revision were removed.
func (e *Engine) Changes(after uint64, yield func(*oplog.Entry) bool) error {
	history, ok := e.journal.(oplog.History)
	if !ok {
		return oplog.ErrNoHistory
	}
	delivered := e.Revision()
	if after >= delivered {
		return nil
	}
	return history.Entries(after, func(entry *oplog.Entry) bool {
		return entry.Revision <= delivered && yield(entry)
	})
}

// Await returns nil when an update after that revision is delivered. The error is that of
// ctx, [ErrClosed] when the engine stops admitting, or [ErrFault] when its log has failed.
func (e *Engine) Await(ctx context.Context, after uint64) error {
	return e.delivery.reach(ctx, e, after+1)
}

// Oldest returns the first revision whose change is kept, 0 if there is none.
func (e *Engine) Oldest() uint64 {
	if history, ok := e.journal.(oplog.History); ok {
		return history.Oldest()
	}
	return 0
}

// At calls look with the policy at a revision. The error is [oplog.ErrNoHistory] if the log
// keeps none, [ErrUnknownRevision] if the revision was not delivered, and wraps
// [oplog.ErrCompacted] if it is no longer kept. After an error the caller must not use what
// look has seen.
func (e *Engine) At(revision uint64, look func(policy.View)) error {
	history, ok := e.journal.(oplog.History)
	if !ok {
		return oplog.ErrNoHistory
	}
	if revision > e.Revision() {
		return ErrUnknownRevision
	}
	return history.At(revision, look)
}
