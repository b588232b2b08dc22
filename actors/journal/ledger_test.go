package journal_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// deed is an update that a client asked for. Its id stands in its entry, as the author's
// credential.
type deed struct {
	id      string
	author  policy.Principal
	changes []policy.Change
	repeat  oplog.IdempotencyKey
}

func (d *deed) update() actors.Update {
	return actors.Update{Changes: d.changes, Author: oplog.Author{Principal: d.author, Credential: d.id}, Key: d.repeat}
}

// link is an update that is known to have a place in the order, and what it led to.
type link struct {
	deed  *deed
	model *model
}

// ledger is what the clients of a store know of it: what they asked for, what was
// acknowledged, and in which order it turned out to stand.
type ledger struct {
	mu    sync.Mutex
	asked map[string]*deed
	acked map[uint64]string // only while the process lived
	told  map[uint64]string // at any time
	links []link            // by revision; links[0] is the empty policy
}

func newLedger() *ledger {
	return &ledger{
		asked: map[string]*deed{}, acked: map[uint64]string{}, told: map[uint64]string{},
		links: []link{{model: &model{}}},
	}
}

// fork returns what is known of a store that goes on from a revision, after a crash.
func (l *ledger) fork(revision uint64) *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := newLedger()
	f.asked, f.links = maps.Clone(l.asked), append([]link{}, l.links[:revision+1]...)
	for r := uint64(1); r <= revision; r++ {
		f.told[r] = f.links[r].deed.id
		if id, ok := l.acked[r]; ok {
			f.acked[r] = id
		}
	}
	return f
}

// shown notes that a process decides by that revision: it must not be lost from then on,
// whether it was acknowledged or not.
func (l *ledger) shown(revision uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := uint64(1); r <= revision && r < uint64(len(l.links)); r++ {
		l.acked[r] = l.links[r].deed.id
	}
}

func (l *ledger) ask(d *deed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[d.id] = d
}

// tell notes an acknowledgment. alive says whether the process that gave it lives.
func (l *ledger) tell(revision uint64, d *deed, alive bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id, ok := l.told[revision]; ok && id != d.id && alive {
		return fmt.Errorf("revision %d was given to %s and to %s", revision, id, d.id)
	}
	l.told[revision] = d.id
	if alive {
		l.acked[revision] = d.id
	}
	return nil
}

// acknowledged returns what was acknowledged until now.
func (l *ledger) acknowledged() map[uint64]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.acked)
}

// keyed returns some of these updates that have a key.
func (l *ledger) keyed(rng *rand.Rand, acked map[uint64]string, most int) (revisions []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for revision, id := range acked {
		if l.asked[id].repeat.Key != "" && rng.IntN(4) == 0 && len(revisions) < most {
			revisions = append(revisions, revision)
		}
	}
	return revisions
}

func (l *ledger) deed(id string) *deed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked[id]
}

// modelAt returns the state at a revision that is known.
func (l *ledger) modelAt(revision uint64) *model {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.links[revision].model
}

func (l *ledger) idAt(revision uint64) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.links[revision].deed.id
}

// learn takes in an entry of the store, in order. Entries that were removed before anybody
// looked are known from their acknowledgments.
func (l *ledger) learn(e *oplog.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for uint64(len(l.links)) < e.Revision {
		revision := uint64(len(l.links))
		id, ok := l.told[revision]
		if !ok {
			return fmt.Errorf("revision %d is missing and unknown", revision)
		}
		if err := l.extend(id); err != nil {
			return err
		}
	}
	id := e.Author.Credential
	if uint64(len(l.links)) == e.Revision {
		if err := l.extend(id); err != nil {
			return err
		}
	}
	if known := l.links[e.Revision].deed.id; known != id {
		return fmt.Errorf("revision %d is %s, and was %s", e.Revision, id, known)
	}
	return nil
}

func (l *ledger) extend(id string) error {
	d := l.asked[id]
	if d == nil {
		return fmt.Errorf("revision %d is %q, which no client asked for", len(l.links), id)
	}
	next, err := l.links[len(l.links)-1].model.then(d.changes)
	if err != nil {
		return fmt.Errorf("%s stands as revision %d: %w", id, len(l.links), err)
	}
	l.links = append(l.links, link{deed: d, model: next})
	return nil
}

// crowd are clients that change a store at random.
type crowd struct {
	ledger  *ledger
	seed    uint64
	alive   func() bool
	clients int
	updates int // of each client
	trims   bool
}

// work lets the clients work on the store until they are done, or it has ended.
func (c *crowd) work(ctx context.Context, s *stage, round string) error {
	errs := make(chan error, c.clients)
	var running sync.WaitGroup
	for n := range c.clients {
		running.Go(func() { errs <- c.client(ctx, s, fmt.Sprintf("%s.%d", round, n), seeded(c.seed, n)) })
	}
	running.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

func (c *crowd) client(ctx context.Context, s *stage, name string, rng *rand.Rand) error {
	var mine []*deed
	for i := range c.updates {
		if !c.alive() {
			return nil
		}
		id := fmt.Sprintf("%s.%d", name, i)
		d := &deed{id: id, author: theCast.principals[rng.IntN(3)], changes: theCast.changes(rng, id)}
		if rng.IntN(3) == 0 {
			d.repeat = oplog.IdempotencyKey{Key: id, Request: [32]byte{byte(i)}}
		}
		if n := len(mine); n > 0 && rng.IntN(10) == 0 {
			d = mine[rng.IntN(n)] // once more
		}
		if c.trims && rng.IntN(30) == 0 {
			_ = s.journal.Trim()
		}
		revision, err := c.do(ctx, s, d)
		if err != nil || revision == 0 {
			return err
		}
		if d.repeat.Key != "" {
			mine = append(mine, d)
		}
	}
	return nil
}

// do asks for an update. It returns no revision, and no error, if the store has ended.
func (c *crowd) do(ctx context.Context, s *stage, d *deed) (uint64, error) {
	c.ledger.ask(d)
	r, err := s.Update(ctx, d.update())
	switch {
	case err == nil:
		return r.Revision, c.ledger.tell(r.Revision, d, c.alive())
	case refusedByPolicy(err):
		return max(r.Revision, 1), nil
	case errors.Is(err, actors.ErrClosed), errors.Is(err, oplog.ErrUnavailable), errors.Is(err, oplog.ErrOutcomeUnknown):
		return 0, nil
	case !c.alive():
		return 0, nil
	}
	return 0, err
}

func refusedByPolicy(err error) bool {
	return errors.Is(err, policy.ErrUnknownRole) || errors.Is(err, policy.ErrRoleInUse) || errors.Is(err, policy.ErrCycle)
}
