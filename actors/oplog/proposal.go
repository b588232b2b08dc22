package oplog

import (
	"fmt"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Author is the principal on whose behalf an update is made, for the record. The zero
// Author is the server itself.
type Author struct {
	Principal policy.Principal
	// Credential is the SHA-256 fingerprint of the author's certificate, in hexadecimal;
	// empty if it had none.
	Credential string
}

// IdempotencyKey lets an author send an update twice and have it applied once. The zero
// value means no key. Keys of different authors are independent.
type IdempotencyKey struct {
	Key string
	// Request is a hash of the request. A log refuses a second request with the same key
	// and another hash with [ErrKeyReused].
	Request [32]byte
}

// Change is an update as data. It has no pointers into the process that proposed it, except
// to immutable values, so a log can store it and send it elsewhere.
type Change struct {
	// Changes are applied in order, all of them or none.
	Changes []policy.Change
	Author  Author
	Key     IdempotencyKey
	// Grace is how long operations that lose their authority may continue before they are
	// canceled. Nil leaves it to the operations.
	Grace *time.Duration
}

// ProposalID identifies a proposal across all engines that share a log.
type ProposalID [16]byte

// Proposal is a change that waits for its outcome, in the process that proposed it.
type Proposal struct {
	ID ProposalID
	Change
	// Before, if not nil, is a precondition on the tip: the state that the change builds on,
	// including changes that are not delivered yet. After, if not nil, gets the tip and the
	// state that the change leads to. An error refuses the proposal. Both depend only on
	// their arguments.
	Before func(tip policy.View) error
	After  func(tip, next policy.View) error

	claimed atomic.Uint32
}

const (
	unclaimed uint32 = iota
	claimedByLog
	abandoned
)

// Claim reports whether the proposal is still wanted. A log calls it once, immediately
// before it applies the proposal, and drops a proposal that is not wanted.
func (p *Proposal) Claim() bool { return p.claimed.CompareAndSwap(unclaimed, claimedByLog) }

// Abandon withdraws the proposal. It returns false if the log has claimed it already; the
// outcome will be delivered then.
func (p *Proposal) Abandon() bool { return p.claimed.CompareAndSwap(unclaimed, abandoned) }

// Draft evaluates the preconditions on tip and applies the change to it, as the next
// revision. Its errors refuse the proposal. A log drafts one proposal after the other, each
// on the state that the one before led to.
func (p *Proposal) Draft(tip policy.View) (*policy.Draft, error) {
	if !utf8.ValidString(p.Author.Credential) {
		return nil, fmt.Errorf("%w: credential %q of the author is not UTF-8", policy.ErrInvalid, p.Author.Credential)
	}
	if p.Before != nil {
		if err := p.Before(tip); err != nil {
			return nil, err
		}
	}
	d := policy.NewDraft(tip, tip.Revision()+1)
	for i := range p.Changes {
		if err := d.Apply(p.Changes[i]); err != nil {
			return nil, policy.At(fmt.Sprintf("changes[%d]", i), err)
		}
	}
	if err := d.Check(); err != nil {
		return nil, err
	}
	if p.After != nil {
		if err := p.After(tip, d); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Applied returns the outcome of a proposal that led to d.
func (p *Proposal) Applied(d *policy.Draft) Outcome {
	return Outcome{
		ID: p.ID, Change: &p.Change, Revision: d.Revision(),
		Roles: d.RolesPut, Records: d.Records, Patterns: d.PatternEdits,
		Certificates: d.Certificates(true), Unrevoked: d.Certificates(false),
	}
}

// Refused returns the outcome of a proposal that was not applied. revision is the tip's.
func (p *Proposal) Refused(err error, revision uint64) Outcome {
	return Outcome{ID: p.ID, Err: err, Revision: revision}
}

// AppliedBefore returns the outcome of a proposal whose idempotency key was used by an update
// that became revision.
func (p *Proposal) AppliedBefore(revision uint64) Outcome {
	return Outcome{ID: p.ID, Revision: revision, Repeated: true}
}
