package actors

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Log orders updates, keeps them, and delivers them back. What it delivers takes effect;
// that a proposal was handed over means nothing yet.
type Log interface {
	// Open returns the policy as it was left, and sets where outcomes go. Open is called
	// once, before anything else.
	Open(events Events) (Opening, error)
	// Propose hands over a proposal. It does not wait for it to be kept: its outcome comes
	// back by Events.Deliver, unless Propose returns an error, or nobody claims it any more:
	// see [Proposal.Claim]. The log forms groups of those that it has. The engine calls it from one goroutine at a time; the order of the calls
	// is that of the revisions.
	Propose(p *Proposal) error
	// Record returns what is kept of a principal, nil if it never had a grant. What was
	// applied may be in it before it is delivered; the record's revision tells. It is safe
	// for concurrent use.
	Record(p policy.Principal) (*policy.Record, error)
	// View calls look with the policy as it was last applied. It is for reading it as a
	// whole, not for requests; look must not keep the view. After an error what look has
	// seen must not be used.
	View(look func(policy.View)) error
	// Close ends the log. Nothing is delivered after it returns.
	Close() error
}

// Events are where a log reports. They do not block.
type Events struct {
	// Deliver takes outcomes, of as many proposals as the log kept together. The log calls
	// it from one goroutine at a time, in the order of the revisions.
	Deliver func([]Outcome)
	// Failed is called at most once, when the log can keep nothing any more: it has
	// delivered, or delivers next, everything that it had taken, with an error that wraps
	// [ErrOutcomeUnknown] or [ErrJournal], and every later call of its other methods
	// returns an error.
	Failed func(error)
}

// History is what a [Log] offers besides if it keeps every change. Its methods are safe
// for concurrent use.
type History interface {
	// Entries calls yield with the changes after a revision, in order, until yield returns
	// false. They may end with some that are not delivered yet. [ErrCompacted] is wrapped
	// if changes after that revision were removed.
	Entries(after uint64, yield func(*Entry) bool) error
	// Oldest returns the first revision that is kept, 0 if there is none.
	Oldest() uint64
	// At calls look with the policy as it was at a revision, which has to be one that is
	// kept or the one before the oldest; after an error what look has seen must not be
	// used.
	At(revision uint64, look func(policy.View)) error
}

// Entry is the record of an update.
type Entry struct {
	Revision uint64
	// Previous is the revision that it was based on.
	Previous uint64
	Time     time.Time
	Author   Author
	// Changes are at most [MaxListed] of the update's; Count counts them all.
	Changes []policy.ChangeSpec
	Count   int
	// Hash is the SHA-256 of this entry, in which that of the one before is contained.
	Hash string
}

// Opening is the state of a log when it is opened.
type Opening struct {
	// Table holds the roles and pattern grants, at the last revision.
	Table *policy.Table
	// Revoked are all certificates that were revoked.
	Revoked []policy.CertificateID
	// Identity names the store: a revision means something only together with it.
	Identity string
}

// Author is on whose behalf an update is made, for the record. The zero Author is the
// server itself.
type Author struct {
	Principal policy.Principal
	// Credential is the fingerprint of the certificate that it came with, if any.
	Credential string
}

// RepeatKey lets an update be asked for twice and be applied once. The zero RepeatKey is
// none. It belongs to its author.
type RepeatKey struct {
	Key string
	// Request is a hash of what was asked for: a second request with the same key and
	// another hash is refused with [ErrKeyReused].
	Request [32]byte
}

// Proposal is an update as the log sees it.
type Proposal struct {
	Changes []policy.Change
	Author  Author
	Repeat  RepeatKey
	// Before, when not nil, is called with the state that the changes build on, the groups
	// that are not yet kept included; After with that and the state that they lead to. An
	// error refuses the proposal. Both are functions of their arguments alone.
	Before func(tip policy.View) error
	After  func(tip, next policy.View) error

	grace time.Duration
	reply chan<- answer
	claim atomic.Uint32 // by the log or, when it is abandoned, by its caller
}

// Claim reports whether somebody waits for the proposal. A log calls it once, when it is
// about to apply it, and forgets one that nobody wants: its caller was told that it was
// not applied.
func (p *Proposal) Claim() bool { return p.claim.CompareAndSwap(callWaits, callTaken) }

// Outcome is what became of a proposal: an error, or what changed at which revision. A
// refusal carries the revision that it was based on.
type Outcome struct {
	Proposal *Proposal
	Err      error
	Revision uint64
	// Repeated means that an earlier update had the same [RepeatKey]: the revision is that
	// update's, and nothing changed.
	Repeated bool

	Roles        map[string]*policy.Role
	Records      map[policy.Principal]*policy.Record
	Patterns     *[]policy.Grant
	Certificates []policy.CertificateID
}

// Draft makes of a proposal the draft of its outcome, as the next revision on tip. A log
// calls it for one proposal after the other, each on the state that the one before led
// to. Its errors are refusals.
func (p *Proposal) Draft(tip policy.View) (*policy.Draft, error) {
	if !utf8.ValidString(p.Author.Credential) {
		return nil, fmt.Errorf("%w: the author's credential %q is no UTF-8", policy.ErrInvalid, p.Author.Credential)
	}
	if p.Before != nil {
		if err := guarded(func() error { return p.Before(tip) }); err != nil {
			return nil, err
		}
	}
	d := policy.NewDraft(tip, tip.Revision()+1)
	for i := range p.Changes {
		if err := d.Apply(p.Changes[i]); err != nil {
			return nil, policy.At(changeField(i), err)
		}
	}
	if p.After != nil {
		if err := guarded(func() error { return p.After(tip, d) }); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Applied returns the outcome of a proposal that led to d.
func (p *Proposal) Applied(d *policy.Draft) Outcome {
	return Outcome{
		Proposal: p, Revision: d.Revision(),
		Roles: d.RolesPut, Records: d.Records, Patterns: d.PatternsPut, Certificates: d.Certificates,
	}
}

// guarded runs a precondition on a goroutine of its own: a panic or Goexit in it is its
// caller's error, and not the end of whoever orders the updates.
func guarded(condition func() error) (err error) {
	err = ErrGoexit
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if v := recover(); v != nil {
				err = &PanicError{Value: v, Stack: debug.Stack()}
			}
		}()
		err = condition()
	}()
	<-done
	return err
}
