package journal_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// wreck is a machine after a power loss, with what was acknowledged before.
type wreck struct {
	machine *machine
	acked   map[uint64]string
	ledger  *ledger
	when    string
}

// storm takes the power from copies of a machine while a process works on it: at each
// stroke a copy of the disk is made as it would be found after that.
type storm struct {
	mu      sync.Mutex
	rng     *rand.Rand
	machine *machine
	ledger  *ledger
	phase   string
	steps   int
	next    int // strokes at this step
	every   int // on average; 0 for never
	wrecks  chan *wreck
}

// enter begins a phase with a stroke about every so many writes.
func (s *storm) enter(phase string, every int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase, s.every = phase, every
	s.draw()
}

func (s *storm) draw() {
	if s.next = 0; s.every > 0 {
		s.next = s.steps + 1 + s.rng.IntN(2*s.every)
	}
}

// step is called before each write of the process.
func (s *storm) step() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.steps++; s.steps != s.next {
		return
	}
	w := &wreck{acked: s.ledger.acknowledged(), ledger: s.ledger}
	percent := someUnsynced(s.rng)
	w.machine = s.machine.powerLoss(s.rng, percent)
	w.when = fmt.Sprintf("power lost in %s before write %d, %d %% of what was not synced survived", s.phase, s.steps, percent)
	s.draw()
	s.wrecks <- w
}

// crashRun is a machine with a store, and the crashes of it that were looked at.
type crashRun struct {
	t       *testing.T
	seed    uint64
	options journal.Options
	crashes *atomic.Int64
}

// TestG5_PowerLoss takes the power from a machine at any moment, and looks at what is found
// afterwards: while clients work, while the store is opened, trimmed or closed, and again
// while what was left by the crash before is opened.
func TestG5_PowerLoss(t *testing.T) {
	var crashes atomic.Int64
	t.Cleanup(func() { t.Logf("%d crashes", crashes.Load()) }) // about 40 in the short form
	for n := range either(1, 1500) {
		seed := uint64(n + 1)
		t.Run(seedName(seed), func(t *testing.T) {
			t.Parallel()
			r := &crashRun{t: t, seed: seed, crashes: &crashes}
			if n%2 == 0 {
				r.options.Keep = journal.Keep{Count: 40}
			}
			r.run()
		})
	}
}

// run lets three processes work on the machine, one after the other. The first is killed,
// the second closed, the third loses power.
func (r *crashRun) run() {
	m, l := newMachine(), newLedger()
	for generation := range 3 {
		s := &storm{rng: seeded(r.seed, 1000+generation), machine: m, ledger: l, wrecks: make(chan *wreck, 4)}
		var looked sync.WaitGroup
		looked.Go(func() {
			rng := seeded(r.seed, 2000+generation)
			for w := range s.wrecks {
				r.inspect(w, rng, 2)
			}
		})
		m, l = r.generation(generation, s)
		close(s.wrecks)
		looked.Wait()
		if r.t.Failed() {
			return
		}
	}
}

// generation is the life of a process. It returns the machine that the next one finds.
func (r *crashRun) generation(n int, s *storm) (*machine, *ledger) {
	p := s.machine.start(s.step)
	s.enter("open", 15)
	st, err := r.open(p)
	require.NoError(r.t, err, "seed %d, generation %d", r.seed, n)
	s.ledger.shown(st.Revision())
	defer within(r.t, "the end of a process", func() error {
		_ = st.Close(context.Background())
		return st.journal.Close()
	})
	s.enter("work", 36)
	c := &crowd{ledger: s.ledger, seed: r.seed*10 + uint64(n), clients: 4, updates: 24, trims: r.options.Keep.Count > 0,
		alive: func() bool { return !p.killed() }}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	rng := seeded(r.seed, 3000+n)
	switch n {
	case 0:
		c.do(ctx, st, &deed{id: "first", author: admin, changes: theCast.first(rng)})
		var steps atomic.Int64
		last := int64(200 + rng.IntN(1500))
		p.step = func() {
			s.step()
			if steps.Add(1) == last {
				go p.kill()
			}
		}
		require.NoError(r.t, c.work(ctx, st, "a"), "seed %d", r.seed)
		p.kill()
		return s.machine, r.known(s.machine, s.ledger)
	case 1:
		require.NoError(r.t, c.work(ctx, st, "b"), "seed %d", r.seed)
		s.enter("close", 4)
		return s.machine, s.ledger
	default:
		require.NoError(r.t, c.work(ctx, st, "c"), "seed %d", r.seed)
		return s.machine, s.ledger
	}
}

func (r *crashRun) open(p *process) (s *stage, err error) {
	err = within(r.t, "opening", func() error { s, err = tryOpen(p, r.options); return err })
	return s, err
}

// known looks at a copy of the disk that a killed process left, and returns what its
// successor starts from.
func (r *crashRun) known(m *machine, l *ledger) *ledger {
	w := &wreck{machine: m.powerLoss(seeded(r.seed, 0), 100), acked: l.acknowledged(), ledger: l, when: "killed"}
	return r.inspect(w, seeded(r.seed, 1), 0)
}

// inspect opens what a crash left and compares it with what has to be there. At times it
// takes the power again while it does so, and looks at that too. It returns what is known
// of the store from then on.
func (r *crashRun) inspect(w *wreck, rng *rand.Rand, depth int) *ledger {
	r.crashes.Add(1)
	if r.t.Failed() {
		return w.ledger
	}
	s := &storm{rng: rng, machine: w.machine, ledger: w.ledger, wrecks: make(chan *wreck, 100)}
	if depth > 0 && rng.IntN(6) == 0 {
		s.enter("open, after "+w.when, 15)
	}
	st, err := r.open(w.machine.start(s.step))
	if err != nil {
		r.t.Errorf("seed %d: %s: %v\n%s", r.seed, w.when, err, w.machine.disk)
		return w.ledger
	}
	s.enter("", 0)
	defer within(r.t, "closing", func() error {
		_ = st.Close(context.Background())
		return st.journal.Close()
	})
	if err := examine(st, w, rng); err != nil {
		r.t.Errorf("seed %d: %s: %v\n%s", r.seed, w.when, err, w.machine.disk)
		return w.ledger
	}
	l := w.ledger.fork(st.Revision())
	close(s.wrecks)
	for again := range s.wrecks {
		again.acked, again.ledger = w.acked, l
		r.inspect(again, rng, depth-1)
	}
	return l
}

// examine compares a store with the ledger: the log and the decisions, and by chance the
// state and the past, or what verification and repeated requests say.
func examine(s *stage, w *wreck, rng *rand.Rand) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := examineEntries(s, w); err != nil {
		return err
	}
	m := w.ledger.modelAt(s.Revision())
	v, err := m.judge(ctx, s.Engine)
	if err != nil || v.faults > 0 {
		return fmt.Errorf("decisions, with %d faults: %w", v.faults, err)
	}
	switch rng.IntN(3) {
	case 0:
		var differs error
		if err := s.View(ctx, func(v policy.View) { differs = m.differs(v) }); err != nil || differs != nil {
			return fmt.Errorf("the state: %w", orElse(err, differs))
		}
		return examinePast(s, w, rng)
	case 1:
		if _, err := s.journal.Verify(ctx); err != nil {
			return fmt.Errorf("verification: %w", err)
		}
		return examineRepeats(ctx, s, w, rng)
	}
	return nil
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// examineEntries wants every acknowledged update, once, and none in part.
func examineEntries(s *stage, w *wreck) error {
	oldest := s.Oldest()
	next, seen := max(oldest, 1), map[string]bool{}
	var failed error
	err := s.Changes(next-1, func(e *oplog.Entry) bool {
		switch d := w.ledger.deed(e.Author.Credential); {
		case e.Revision != next || e.Previous != next-1:
			failed = fmt.Errorf("revision %d follows %d where %d has to be", e.Revision, e.Previous, next)
		case seen[e.Author.Credential]:
			failed = fmt.Errorf("revision %d is there twice", e.Revision)
		case d == nil || d.author != e.Author.Principal || e.Count != len(d.changes) || len(e.Changes) != min(e.Count, actors.MaxListed):
			failed = fmt.Errorf("revision %d is not what was asked for: %+v", e.Revision, e)
		default:
			failed = w.ledger.learn(e)
		}
		seen[e.Author.Credential] = true
		next++
		return failed == nil
	})
	if err != nil || failed != nil {
		return fmt.Errorf("the log: %w", orElse(err, failed))
	}
	if next-1 != s.Revision() {
		return fmt.Errorf("the log ends with revision %d, and the engine is at %d", next-1, s.Revision())
	}
	for revision, id := range w.acked {
		if revision > s.Revision() {
			return fmt.Errorf("revision %d (%s) was acknowledged and is gone: the store ends at %d", revision, id, s.Revision())
		}
		if known := w.ledger.idAt(revision); known != id {
			return fmt.Errorf("revision %d is %s, and was acknowledged as %s", revision, known, id)
		}
	}
	return nil
}

// examinePast looks at the state at some revisions.
func examinePast(s *stage, w *wreck, rng *rand.Rand) error {
	first, last := max(s.Oldest(), 1)-1, s.Revision()
	for range 2 {
		revision := first + rng.Uint64N(last-first+1)
		var differs error
		err := s.At(revision, func(v policy.View) { differs = w.ledger.modelAt(revision).differs(v) })
		if err != nil || differs != nil {
			return fmt.Errorf("the state at revision %d: %w", revision, orElse(err, differs))
		}
	}
	return nil
}

// examineRepeats asks again for updates that were acknowledged.
func examineRepeats(ctx context.Context, s *stage, w *wreck, rng *rand.Rand) error {
	for _, revision := range w.ledger.keyed(rng, w.acked, 2) {
		d := w.ledger.deed(w.acked[revision])
		r, err := s.Update(ctx, d.update())
		if err != nil || r.Revision != revision {
			return fmt.Errorf("%s, repeated, is revision %d and not %d: %w", d.id, r.Revision, revision, err)
		}
	}
	return nil
}
