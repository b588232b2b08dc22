package oplog

import (
	"context"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Log orders updates, keeps them and delivers their outcomes.
//
// Record, View and Close are safe for concurrent use. Open is called once, before any other
// method. The engine calls Propose from one goroutine at a time.
type Log interface {
	// Open returns the state that the log holds and sets where outcomes go. A second call
	// fails. The engine's callbacks can block until Open has returned, so Open must not wait for
	// one.
	Open(events Events) (InitialState, error)

	// Propose hands over a proposal. It may return before the proposal is kept. The log
	// delivers one outcome for it, unless Propose returns an error or [Proposal.Claim]
	// returns false. The log orders the proposals of one engine in the order of the calls.
	Propose(p *Proposal) error

	// Record returns the grants that are kept of a principal, nil if it never had one. The
	// result includes everything that was delivered before the call. It can include a
	// revision that is not delivered yet, which Record.Revision tells. The caller must not
	// change it.
	Record(p policy.Principal) (*policy.Record, error)

	// View calls look with the whole policy at one revision, which is not older than
	// anything that was delivered before the call. look must not keep the view. After an
	// error the caller must not use what look has seen.
	View(look func(policy.View)) error

	// Close ends the log. Nothing is delivered after it returns.
	Close() error
}

// SharedLog is a [Log] that several engines use at the same time. Each engine has a
// SharedLog of its own. Updates of an engine return when all engines have confirmed them
// (promise G2 for all of them).
type SharedLog interface {
	Log

	// Confirm tells the other engines that this engine has delivered all revisions up to
	// applied, and that none of them forbids an operation that runs on this engine, except
	// the unquiesced revisions, in ascending order. An engine that has opened the log has
	// confirmed nothing before its first call, also no earlier revision: operations of its
	// previous process may still run. The engine calls Confirm from one goroutine at a time,
	// whenever this changes. Confirm must not wait for other engines, and must not keep the
	// slice.
	Confirm(applied uint64, unquiesced []uint64)

	// Await returns nil when every other engine has confirmed the revision as quiesced. It
	// returns the names of the engines that have not, and the error of ctx, when ctx ends
	// first.
	Await(ctx context.Context, revision uint64) (missing []string, err error)
}

// Events are the callbacks of a log. They do not block.
type Events struct {
	// Deliver takes the outcomes of one or more proposals, in ascending order of their
	// revisions, each revision once. The log calls it from one goroutine at a time. An
	// outcome without a revision of its own (a refusal or a repeated proposal) is delivered
	// after the revision that it names.
	Deliver func([]Outcome)

	// Failed is called at most once, when the log can no longer keep updates. The log has
	// delivered outcomes for all claimed proposals before, or does so after, with an error
	// that wraps [ErrOutcomeUnknown] or [ErrUnavailable]. Later calls of Propose, Record and
	// View return an error.
	Failed func(error)

	// Fence makes the engine deny everything and cancels all operations. A shared log calls it when
	// it can no longer tell what the other engines have agreed on, and before Failed. When it
	// returns, no later turn allows anything. The engine calls ended when no operation is left that
	// was admitted before. It calls ended at most once, and not if it closes first. The log may
	// deliver outcomes during the fence. Calls of Fence and Unfence alternate.
	Fence func(ended func())

	// Unfence makes the engine decide again. The log calls it after the engine has called ended, and
	// when everything is delivered that the other engines may have confirmed.
	Unfence func()
}

// InitialState is the state of a log when it is opened.
type InitialState struct {
	// Table holds the roles and the pattern grants at the last revision.
	Table *policy.Table
	// Revoked lists all revoked certificates.
	Revoked []policy.CertificateID
	// StoreID identifies the store. A revision has a meaning only together with it.
	StoreID string
}

// History is implemented by a [Log] that keeps every change. Its methods are safe for
// concurrent use.
type History interface {
	// Entries calls yield with the changes after a revision, in order, until yield returns
	// false. The last entries may not be delivered yet. The error wraps [ErrCompacted] if
	// changes after that revision were removed.
	Entries(after uint64, yield func(*Entry) bool) error

	// Oldest returns the first revision that is kept, 0 if there is none.
	Oldest() uint64

	// At calls look with the policy at a revision, which has to be a kept one or the one
	// before the oldest. After an error the caller must not use what look has seen.
	At(revision uint64, look func(policy.View)) error
}
