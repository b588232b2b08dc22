package oplog

import (
	"crypto/rand"
	"fmt"
	"iter"
	"maps"
	"sync"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Memory is a [Log] that keeps everything in memory: an update is as durable as the
// process. Use [NewMemory] or [NewMemoryWith].
type Memory struct {
	storeID string

	mu     sync.Mutex // held while the state changes and while View reads it
	events Events
	opened bool
	closed bool
	state  memoryState
}

// NewMemory returns an empty log.
func NewMemory() *Memory {
	m, _ := NewMemoryWith(nil, nil)
	return m
}

// NewMemoryWith returns a log that starts with a policy. The policy has revision 1, or 0 if
// it is empty. Errors are those of [policy.CheckRoles] and [policy.Draft.Apply].
func NewMemoryWith(roles []*policy.Role, grants []policy.Grant) (*Memory, error) {
	m := &Memory{storeID: rand.Text(), state: newMemoryState()}
	if len(roles)+len(grants) == 0 {
		return m, nil
	}
	byName := make(map[string]*policy.Role, len(roles))
	for _, r := range roles {
		byName[r.Name()] = r
	}
	if err := policy.CheckRoles(byName); err != nil {
		return nil, err
	}
	d := policy.NewDraft(&m.state, 0)
	d.RolesPut = byName
	m.state.commit(d)
	d = policy.NewDraft(&m.state, 1)
	for i := range grants {
		if err := d.Apply(policy.GrantRole(grants[i])); err != nil {
			return nil, policy.At(fmt.Sprintf("grants[%d]", i), err)
		}
	}
	m.state.commit(d)
	return m, nil
}

// Open implements [Log].
func (m *Memory) Open(events Events) (InitialState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.opened {
		return InitialState{}, fmt.Errorf("%w: opened before, or closed", ErrUnavailable)
	}
	m.events, m.opened = events, true
	roles := make([]*policy.Role, 0, len(m.state.roles))
	for _, r := range m.state.roles {
		roles = append(roles, r)
	}
	table, err := policy.NewTable(m.state.revision, roles, &m.state.patterns)
	if err != nil {
		return InitialState{}, err
	}
	revoked := make([]policy.CertificateID, 0, len(m.state.revoked))
	for id := range m.state.revoked {
		revoked = append(revoked, id)
	}
	return InitialState{Table: table, Revoked: revoked, StoreID: m.storeID}, nil
}

// Propose implements [Log]. It applies and delivers the proposal before it returns.
func (m *Memory) Propose(p *Proposal) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return fmt.Errorf("%w: closed", ErrUnavailable)
	}
	if p.Claim() {
		m.events.Deliver([]Outcome{m.state.apply(p)})
	}
	return nil
}

// Record implements [Log]. It takes no lock.
func (m *Memory) Record(p policy.Principal) (*policy.Record, error) {
	return m.state.Record(p), nil
}

// View implements [Log].
func (m *Memory) View(look func(policy.View)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	look(&m.state)
	return nil
}

// Close implements [Log].
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// memoryState is a [policy.View] that changes. Reading a record concurrently is safe.
type memoryState struct {
	revision uint64
	roles    map[string]*policy.Role
	patterns policy.PatternGrants
	records  sync.Map // policy.Principal → *policy.Record
	holders  map[string]map[policy.Principal]struct{}
	revoked  map[policy.CertificateID]struct{}
}

func newMemoryState() memoryState {
	return memoryState{
		roles:   map[string]*policy.Role{},
		holders: map[string]map[policy.Principal]struct{}{},
		revoked: map[policy.CertificateID]struct{}{},
	}
}

func (s *memoryState) apply(p *Proposal) Outcome {
	if p.Key.Key != "" {
		return p.Refused(ErrNoKeys, s.revision)
	}
	d, err := p.Draft(s)
	if err != nil {
		return p.Refused(err, s.revision)
	}
	s.commit(d)
	return p.Applied(d)
}

func (s *memoryState) commit(d *policy.Draft) {
	for name, r := range d.RolesPut {
		if r == nil {
			delete(s.roles, name)
		} else {
			s.roles[name] = r
		}
	}
	for p, r := range d.Records {
		if r == nil || r.Revision != d.Revision() {
			continue
		}
		s.index(p, s.Record(p), r)
		s.records.Store(p, r)
	}
	s.patterns = *d.Patterns()
	for _, id := range d.Certificates(true) {
		s.revoked[id] = struct{}{}
	}
	for _, id := range d.Certificates(false) {
		delete(s.revoked, id)
	}
	s.revision = d.Revision()
}

// index updates the holders of the roles that differ between two records.
func (s *memoryState) index(p policy.Principal, before, after *policy.Record) {
	if before != nil {
		for i := range before.Grants {
			role := before.Grants[i].Role
			delete(s.holders[role], p)
			if len(s.holders[role]) == 0 {
				delete(s.holders, role)
			}
		}
	}
	for i := range after.Grants {
		role := after.Grants[i].Role
		if s.holders[role] == nil {
			s.holders[role] = map[policy.Principal]struct{}{}
		}
		s.holders[role][p] = struct{}{}
	}
}

// Revision implements [policy.View].
func (s *memoryState) Revision() uint64 { return s.revision }

// Role implements [policy.View].
func (s *memoryState) Role(name string) *policy.Role { return s.roles[name] }

// Roles implements [policy.View].
func (s *memoryState) Roles() iter.Seq[*policy.Role] { return maps.Values(s.roles) }

// Record implements [policy.View].
func (s *memoryState) Record(p policy.Principal) *policy.Record {
	if r, ok := s.records.Load(p); ok {
		return r.(*policy.Record)
	}
	return nil
}

// Patterns implements [policy.View].
func (s *memoryState) Patterns() *policy.PatternGrants { return &s.patterns }

// Holders implements [policy.View].
func (s *memoryState) Holders(role string) iter.Seq[policy.Principal] {
	return maps.Keys(s.holders[role])
}

// Revoked implements [policy.View].
func (s *memoryState) Revoked(id policy.CertificateID) bool {
	_, ok := s.revoked[id]
	return ok
}
