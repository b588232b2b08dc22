package actors

import (
	"context"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Changes calls yield with the updates after a revision, in order, until yield returns
// false or there is none left that was delivered. [oplog.ErrNoHistory] is returned if the log
// keeps none, and [oplog.ErrCompacted] is wrapped if changes after that revision were removed.
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

// Await returns when an update after that revision was delivered, or with the error of
// ctx, with [ErrClosed] once the engine stops admitting, or [ErrFault] once its log has
// failed.
func (e *Engine) Await(ctx context.Context, after uint64) error {
	return e.delivery.reach(ctx, e, after+1)
}

// Oldest returns the first revision of which the change is kept, 0 if there is none.
func (e *Engine) Oldest() uint64 {
	if history, ok := e.journal.(oplog.History); ok {
		return history.Oldest()
	}
	return 0
}

// At calls look with the policy as it was at a revision. [oplog.ErrNoHistory] is returned if
// the log keeps none, [ErrUnknownRevision] for one that was not delivered, and
// [oplog.ErrCompacted] is wrapped for one that is not kept any more. After an error what look
// has seen must not be used.
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
