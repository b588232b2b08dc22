package actors

import (
	"runtime/debug"
	"sync/atomic"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Log orders updates, keeps them, and delivers them back. What it delivers takes effect;
// that a proposal was handed over means nothing yet.
type Log interface {
	// Open returns the policy as it was left, and sets where outcomes go. The log calls
	// deliver from one goroutine at a time, in the order of revisions; deliver does not
	// block. Open is called once, before anything else.
	Open(deliver func([]Outcome)) (Opening, error)
	// Propose hands over a group of proposals. It does not wait for them to be kept. Each
	// of them is delivered in exactly one Outcome, unless the log fails; Propose returns
	// an error only if it took none of them.
	Propose(group []*Proposal) error
	// Record returns what is kept of a principal, nil if it never had a grant. What was
	// applied may be in it before it is delivered; the record's revision tells. It is safe
	// for concurrent use.
	Record(p policy.Principal) (*policy.Record, error)
	// View calls look with the policy as it was last applied. It is for reading it as a
	// whole, not for requests; look must not keep the view.
	View(look func(policy.View)) error
	// Close ends the log. Nothing is delivered after it returns.
	Close() error
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

// Author is on whose behalf an update is made, for the record.
type Author struct {
	Principal policy.Principal
	// Credential is the fingerprint of the certificate that it came with, if any.
	Credential string
}

// Proposal is an update as the log sees it.
type Proposal struct {
	Changes []policy.Change
	Author  Author
	// Before, when not nil, is called with the state that the changes build on, the groups
	// that are not yet kept included; After with that and the state that they lead to. An
	// error refuses the proposal. Both are functions of their arguments alone.
	Before func(tip policy.View) error
	After  func(tip, next policy.View) error

	reply chan<- answer
	claim atomic.Uint32 // by the log or, when it is abandoned, by its caller
}

// Outcome is what became of a proposal: an error, or what changed at which revision. A
// refusal carries the revision that it was based on.
type Outcome struct {
	Proposal *Proposal
	Err      error
	Revision uint64

	Roles        map[string]*policy.Role
	Records      map[policy.Principal]*policy.Record
	Patterns     *[]policy.Grant
	Certificates []policy.CertificateID
}

// draft makes of a proposal the draft of its outcome, as the next revision on tip.
func draft(tip policy.View, p *Proposal) (*policy.Draft, error) {
	if p.Before != nil {
		if err := guarded(func() error { return p.Before(tip) }); err != nil {
			return nil, err
		}
	}
	d := policy.NewDraft(tip, tip.Revision()+1)
	for i, c := range p.Changes {
		if err := d.Apply(c); err != nil {
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
