package oplogtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Shared is an in-memory log for several engines in one process. Each engine gets a
// [Member] from [Shared.Join]. It is safe for concurrent use.
type Shared struct {
	log     *oplog.Memory
	storeID string

	mu      sync.Mutex // taken within the lock of log
	revoked []policy.CertificateID
	members []*Member
	changed chan struct{} // closed and replaced when a member confirms, joins or leaves
}

// NewShared returns a log that starts with a policy, as [oplog.NewMemoryWith] does.
func NewShared(roles []*policy.Role, grants []policy.Grant) (*Shared, error) {
	m, err := oplog.NewMemoryWith(roles, grants)
	if err != nil {
		return nil, err
	}
	s := &Shared{log: m, changed: make(chan struct{})}
	initial, err := m.Open(oplog.Events{Deliver: s.deliver, Failed: func(error) {}})
	s.storeID = initial.StoreID
	return s, err
}

// Join returns a log for one more engine. The name appears in the receipt of an update where other
// engines are missing. The engine is a member from Open to Close.
func (s *Shared) Join(name string) *Member { return &Member{shared: s, name: name} }

// deliver hands outcomes to all members. The memory log calls it for one proposal after the
// other.
func (s *Shared) deliver(list []oplog.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range list {
		s.revoked = slices.DeleteFunc(append(s.revoked, list[i].Certificates...), func(id policy.CertificateID) bool {
			return slices.Contains(list[i].Unrevoked, id)
		})
	}
	for _, m := range s.members {
		m.queue <- list
	}
}

// wake makes the goroutines in Await check again. The caller holds mu.
func (s *Shared) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// missing returns the names of the members other than own that have not confirmed a
// revision, and a channel that is closed when this may have changed.
func (s *Shared) missing(own *Member, revision uint64) ([]string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, m := range s.members {
		if m != own && (m.applied < revision || slices.Contains(m.unquiesced, revision)) {
			names = append(names, m.name)
		}
	}
	slices.Sort(names)
	return names, s.changed
}

// Member is the log of one engine on a [Shared]. It implements [oplog.SharedLog].
type Member struct {
	shared *Shared
	name   string

	opened  bool // set by Open
	queue   chan []oplog.Outcome
	stopped chan struct{}

	// What follows is under shared.mu.
	closed     bool
	applied    uint64
	unquiesced []uint64
}

var _ oplog.SharedLog = (*Member)(nil)

// Open implements [oplog.Log].
func (m *Member) Open(events oplog.Events) (initial oplog.InitialState, err error) {
	// View keeps proposals out, so that none is delivered between reading the state and
	// registering the member.
	viewErr := m.shared.log.View(func(v policy.View) { initial, err = m.open(v, events) })
	return initial, errors.Join(viewErr, err)
}

func (m *Member) open(v policy.View, events oplog.Events) (initial oplog.InitialState, err error) {
	s := m.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.opened || m.closed {
		return initial, fmt.Errorf("%w: opened before, or closed", oplog.ErrUnavailable)
	}
	initial = oplog.InitialState{StoreID: s.storeID, Revoked: slices.Clone(s.revoked)}
	initial.Table, err = policy.NewTable(v.Revision(), slices.Collect(v.Roles()), v.Patterns())
	if err != nil {
		return initial, err
	}
	m.opened = true
	m.queue, m.stopped = make(chan []oplog.Outcome, 1024), make(chan struct{})
	s.members = append(s.members, m)
	go func() {
		defer close(m.stopped)
		for list := range m.queue {
			events.Deliver(list)
		}
	}()
	return initial, nil
}

// Propose implements [oplog.Log].
func (m *Member) Propose(p *oplog.Proposal) error {
	m.shared.mu.Lock()
	closed := m.closed || !m.opened
	m.shared.mu.Unlock()
	if closed {
		return fmt.Errorf("%w: closed", oplog.ErrUnavailable)
	}
	return m.shared.log.Propose(p)
}

// Record implements [oplog.Log].
func (m *Member) Record(p policy.Principal) (*policy.Record, error) { return m.shared.log.Record(p) }

// View implements [oplog.Log].
func (m *Member) View(look func(policy.View)) error { return m.shared.log.View(look) }

// Confirm implements [oplog.SharedLog].
func (m *Member) Confirm(applied uint64, unquiesced []uint64) {
	m.shared.mu.Lock()
	defer m.shared.mu.Unlock()
	m.applied, m.unquiesced = applied, slices.Clone(unquiesced)
	m.shared.wake()
}

// Await implements [oplog.SharedLog].
func (m *Member) Await(ctx context.Context, revision uint64) (missing []string, err error) {
	for {
		missing, changed := m.shared.missing(m, revision)
		if len(missing) == 0 {
			return nil, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return missing, ctx.Err()
		}
	}
}

// Close implements [oplog.Log]. The other engines no longer wait for this one, so its engine
// has to be closed before.
func (m *Member) Close() error {
	s := m.shared
	s.mu.Lock()
	if m.closed || !m.opened {
		m.closed = true
		s.mu.Unlock()
		return nil
	}
	m.closed = true
	s.members = slices.DeleteFunc(s.members, func(other *Member) bool { return other == m })
	close(m.queue)
	s.wake()
	s.mu.Unlock()
	<-m.stopped
	return nil
}
