package oplogtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// patience bounds the wait for an outcome. A log that needs longer is taken for stuck.
var patience = 20 * time.Second

// probe is an engine's side of a log. It checks each delivery against the contract.
type probe struct {
	log     oplog.Log
	initial oplog.InitialState
	// reference gets every delivered change, and says what its outcome has to be.
	reference *oplog.Memory

	proposing sync.Mutex // an engine proposes from one goroutine at a time

	mu         sync.Mutex
	delivering bool
	closed     bool
	delivered  uint64 // the last revision
	outcomes   []oplog.Outcome
	expected   oplog.Outcome // of the reference
	waiting    map[oplog.ProposalID]chan oplog.Outcome
	answered   map[oplog.ProposalID]bool
	progress   chan struct{} // closed and replaced at each outcome
	errs       []error
}

var lastID struct {
	sync.Mutex
	n uint64
}

func newID() (id oplog.ProposalID) {
	lastID.Lock()
	defer lastID.Unlock()
	lastID.n++
	binary.BigEndian.PutUint64(id[8:], lastID.n)
	return id
}

// openProbe opens a log whose policy is empty, or as the reference holds it.
func openProbe(log oplog.Log, reference *oplog.Memory) (*probe, error) {
	p := &probe{log: log, reference: reference, waiting: map[oplog.ProposalID]chan oplog.Outcome{}, answered: map[oplog.ProposalID]bool{}, progress: make(chan struct{})}
	if reference == nil {
		p.reference = oplog.NewMemory()
		if _, err := p.reference.Open(oplog.Events{Deliver: p.expect, Failed: func(error) {}}); err != nil {
			return nil, err
		}
	}
	initial, err := log.Open(oplog.Events{Deliver: p.deliver, Failed: p.failed})
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	if initial.Table == nil || initial.StoreID == "" {
		return nil, errors.New("open: the initial state has no table or no store ID")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.initial = initial
	p.delivered = max(p.delivered, initial.Table.Revision())
	return p, nil
}

func (p *probe) expect(list []oplog.Outcome) { p.expected = list[0] }

func (p *probe) failed(err error) { p.fault("the log failed: %w", err) }

// fault notes a breach of the contract.
func (p *probe) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faultLocked(format, args...)
}

func (p *probe) faultLocked(format string, args ...any) {
	if len(p.errs) < 10 {
		p.errs = append(p.errs, fmt.Errorf(format, args...))
	}
}

// deliver takes outcomes as an engine does.
func (p *probe) deliver(list []oplog.Outcome) {
	p.mu.Lock()
	if p.delivering {
		p.faultLocked("Deliver was called by two goroutines at a time")
	}
	p.delivering = true
	p.mu.Unlock()
	for i := range list {
		p.take(&list[i])
	}
	p.mu.Lock()
	p.delivering = false
	p.mu.Unlock()
}

func (p *probe) take(o *oplog.Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.faultLocked("revision %d was delivered after Close returned", o.Revision)
	}
	if p.answered[o.ID] {
		p.faultLocked("a proposal got two outcomes; the second has revision %d", o.Revision)
	}
	p.answered[o.ID] = true
	switch {
	case !o.Applied():
		if o.Revision > p.delivered {
			p.faultLocked("an outcome named revision %d before that was delivered", o.Revision)
		}
	case o.Revision <= p.delivered:
		p.faultLocked("revision %d was delivered after revision %d", o.Revision, p.delivered)
	case o.Change == nil:
		p.faultLocked("revision %d was delivered without its change", o.Revision)
	default:
		p.delivered = o.Revision
		p.compare(o)
	}
	p.outcomes = append(p.outcomes, *o)
	close(p.progress)
	p.progress = make(chan struct{})
	if waiter := p.waiting[o.ID]; waiter != nil {
		delete(p.waiting, o.ID)
		waiter <- *o
	}
}

// compare applies the delivered change to the reference and compares the outcomes. The
// caller holds mu.
func (p *probe) compare(o *oplog.Outcome) {
	change := *o.Change
	change.Key = oplog.IdempotencyKey{}
	if err := p.reference.Propose(&oplog.Proposal{Change: change}); err != nil {
		p.faultLocked("reference: %w", err)
		return
	}
	want := &p.expected
	switch {
	case want.Err != nil:
		p.faultLocked("revision %d was applied although it is invalid: %w", o.Revision, want.Err)
	case !sameRoles(o.Roles, want.Roles):
		p.faultLocked("revision %d has other roles than its change leads to", o.Revision)
	case !samePatterns(o.Patterns, want.Patterns):
		p.faultLocked("revision %d has other pattern grants than its change leads to", o.Revision)
	case !slices.Equal(o.Certificates, want.Certificates), !slices.Equal(o.Unrevoked, want.Unrevoked):
		p.faultLocked("revision %d revokes certificates %v and takes back %v, not %v and %v", o.Revision, o.Certificates, o.Unrevoked, want.Certificates, want.Unrevoked)
	case len(o.Records) != len(want.Records):
		p.faultLocked("revision %d has %d records, not %d", o.Revision, len(o.Records), len(want.Records))
	default:
		for who, r := range want.Records {
			if !sameGrants(o.Records[who], r) {
				p.faultLocked("revision %d has another record of %s than its change leads to", o.Revision, who)
			}
		}
	}
}

func sameRoles(a, b map[string]*policy.Role) bool {
	if len(a) != len(b) {
		return false
	}
	for name, r := range a {
		other, ok := b[name]
		if !ok || (r == nil) != (other == nil) || r != nil && !reflect.DeepEqual(policy.SpecOfRole(r), policy.SpecOfRole(other)) {
			return false
		}
	}
	return true
}

// samePatterns compares what edits do to a set that has all that they remove.
func samePatterns(a, b []policy.PatternEdit) bool {
	var sets [2]policy.PatternGrants
	for i := range sets {
		for _, e := range append(slices.Clone(a), b...) {
			if e.Removed {
				sets[i].Update([]policy.PatternEdit{{Grant: e.Grant}})
			}
		}
	}
	sets[0].Update(a)
	sets[1].Update(b)
	return slices.EqualFunc(sets[0].Sorted(), sets[1].Sorted(), (*policy.Grant).Equal)
}

func sameGrants(a, b *policy.Record) bool {
	if a == nil || b == nil {
		return (a == nil || len(a.Grants) == 0) && (b == nil || len(b.Grants) == 0)
	}
	return sameGrantSet(a.Grants, b.Grants)
}

func sameGrantSet(a, b []policy.Grant) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		found := false
		for j := range b {
			found = found || a[i].Equal(&b[j])
		}
		if !found {
			return false
		}
	}
	return true
}

// propose hands over a proposal without waiting for it.
func (p *probe) propose(proposal *oplog.Proposal) (<-chan oplog.Outcome, error) {
	if proposal.ID == (oplog.ProposalID{}) {
		proposal.ID = newID()
	}
	outcome := make(chan oplog.Outcome, 1)
	p.mu.Lock()
	p.waiting[proposal.ID] = outcome
	p.mu.Unlock()
	p.proposing.Lock()
	defer p.proposing.Unlock()
	return outcome, p.log.Propose(proposal)
}

// do proposes changes and waits for the outcome.
func (p *probe) do(proposal *oplog.Proposal) (oplog.Outcome, error) {
	outcome, err := p.propose(proposal)
	if err != nil {
		return oplog.Outcome{}, fmt.Errorf("propose: %w", err)
	}
	return await(outcome)
}

func await(outcome <-chan oplog.Outcome) (oplog.Outcome, error) {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case o := <-outcome:
		return o, nil
	case <-limit.C:
		return oplog.Outcome{}, fmt.Errorf("no outcome was delivered within %s", patience)
	}
}

// apply proposes changes that have to be applied.
func (p *probe) apply(changes ...policy.Change) (oplog.Outcome, error) {
	o, err := p.do(&oplog.Proposal{Change: oplog.Change{Changes: changes}})
	if err == nil && !o.Applied() {
		err = fmt.Errorf("%v was not applied: %w", changes, o.Err)
	}
	return o, err
}

// last returns the last delivered revision.
func (p *probe) last() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delivered
}

// differs compares the log's view with the reference.
func (p *probe) differs() error {
	revision := p.last()
	return errors.Join(p.log.View(func(v policy.View) {
		if v.Revision() < revision {
			p.fault("View is at revision %d, revision %d was delivered before", v.Revision(), revision)
		}
		_ = p.reference.View(func(want policy.View) {
			if !sameView(v, want) {
				p.fault("View differs from what was delivered")
			}
		})
	}))
}

func sameView(a, b policy.View) bool {
	roles := func(v policy.View) map[string]*policy.Role {
		all := map[string]*policy.Role{}
		for r := range v.Roles() {
			all[r.Name()] = r
		}
		return all
	}
	if !sameRoles(roles(a), roles(b)) || !slices.EqualFunc(a.Patterns().Sorted(), b.Patterns().Sorted(), (*policy.Grant).Equal) {
		return false
	}
	for name := range roles(a) {
		holders := map[policy.Principal]int{}
		for who := range a.Holders(name) {
			holders[who]++
		}
		for who := range b.Holders(name) {
			holders[who]--
			if !sameGrants(a.Record(who), b.Record(who)) {
				return false
			}
		}
		for _, n := range holders {
			if n != 0 {
				return false
			}
		}
	}
	return true
}

// close closes the log, and returns all breaches of the contract.
func (p *probe) close() error {
	err := p.log.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return errors.Join(append(p.errs, err)...)
}
