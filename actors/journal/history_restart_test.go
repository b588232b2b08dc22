package journal_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// chronicleRoleNames are the roles of the model, and the shared one.
var chronicleRoleNames = [chronicleRoles + 1]string{"both", "no-a0", "only-a0", "shared"}

func chronicler(p int) policy.Principal { return policy.MustPrincipal(fmt.Sprintf("user:h%d", p)) }

func question(p, action int) actors.Request {
	return actors.Request{Principal: chronicler(p), Action: fmt.Sprintf("do:a%d", action), Resource: "thing"}
}

func may(effect string, actions ...string) policy.PermissionSpec {
	return policy.PermissionSpec{Effect: effect, Actions: actions, Resources: []string{"**"}}
}

// foundation are the roles, and the shared one for everybody.
func foundation() []policy.Change {
	everybody := must(policy.ParsePrincipalPattern("user:*"))
	put := func(name string, permissions ...policy.PermissionSpec) policy.Change {
		return policy.PutRole(must(policy.RoleSpec{Permissions: permissions}.Role(name)), "")
	}
	return []policy.Change{
		put("both", may("allow", "do:a0", "do:a1")),
		put("no-a0", may("deny", "do:a0")),
		put("only-a0", may("allow", "do:*"), may("deny", "do:a1", "do:a2")),
		put("shared"),
		policy.GrantRole(policy.Grant{Principals: everybody, Role: "shared"}),
	}
}

func (s switched) change() policy.Change {
	name := chronicleRoleNames[s.role]
	switch {
	case s.role == shared && s.on:
		return policy.PutRole(must(policy.RoleSpec{Permissions: []policy.PermissionSpec{may("allow", "do:a2")}}.Role(name)), "")
	case s.role == shared:
		return policy.PutRole(must(policy.RoleSpec{}.Role(name)), "")
	case s.on:
		return grant(chronicler(s.principal), name)
	}
	return revoke(chronicler(s.principal), name)
}

// life is what the clients of a process see of it. What a dead one tells them does not
// count.
type life struct {
	*stage
	process   *process
	chronicle *chronicle
	left      atomic.Int64 // writes until its death; it has none if it is not positive
	counts    func() bool
	decider   *actors.Engine // its own
}

// dieBefore ends the process before the n-th write from now.
func (l *life) dieBefore(write int) { l.left.Store(int64(write)) }

func (l *life) step() {
	if l.left.Add(-1) == 0 {
		l.process.kill()
	}
}

// began starts a process on the machine, and notes what it finds.
func (c *chronicle) began(t *testing.T, m *machine) (*life, error) {
	l := &life{chronicle: c}
	l.process = m.start(l.step)
	l.counts = func() bool { return !l.process.killed() }
	err := within(t, "opening", func() (err error) { l.stage, err = tryOpen(l.process, journal.Options{}); return err })
	if err != nil {
		return nil, err
	}
	l.decider = l.Engine
	var log []logged
	require.NoError(t, l.journal.Entries(0, func(e *oplog.Entry) bool {
		update, err := strconv.Atoi(e.Author.Credential)
		require.NoError(t, err)
		log = append(log, logged{update: update, revision: e.Revision})
		return true
	}))
	c.restart(log)
	return l, nil
}

// ended closes what there is of the process. A dead one cannot know what it says to that.
func (l *life) ended(t *testing.T) {
	err := within(t, "the end of a process", func() error {
		return errors.Join(l.Close(context.Background()), l.journal.Close())
	})
	if l.counts() {
		require.NoError(t, err)
	}
}

// ask makes an update, and says whether its client goes on.
func (l *life) ask(ctx context.Context, client int, switches []switched, changes []policy.Change) bool {
	update := l.chronicle.ask(client, switches)
	r, err := l.Update(ctx, actors.Update{Changes: changes, Author: oplog.Author{Credential: strconv.Itoa(update)}})
	alive := l.counts()
	ret := l.chronicle.now()
	switch {
	case !alive, errors.Is(err, oplog.ErrOutcomeUnknown):
	case err == nil, errors.Is(err, actors.ErrNotQuiesced):
		if r.Quiesced != (err == nil) {
			l.chronicle.went(fmt.Errorf("update %d, with error %v: quiesced is %v", update, err, r.Quiesced))
		}
		l.chronicle.stands(update, r.Revision, r.Quiesced, ret)
	case errors.Is(err, actors.ErrClosed), errors.Is(err, context.Canceled):
		l.chronicle.refused(update)
	default:
		l.chronicle.went(fmt.Errorf("update %d: %w", update, err))
	}
	return alive && !errors.Is(err, actors.ErrClosed)
}

func (l *life) change(ctx context.Context, client int, switches []switched) bool {
	changes := make([]policy.Change, len(switches))
	for i, w := range switches {
		changes[i] = w.change()
	}
	return l.ask(ctx, client, switches, changes)
}

// instant notes an event of this very moment, if the process lives.
func (l *life) instant(e event) {
	call := l.chronicle.now()
	if l.counts() {
		l.chronicle.add(e, call, l.chronicle.now())
	}
}

// decided notes a decision that was made since call, if the process lives.
func (l *life) decided(e event, call int64) {
	e.kind = evDecided
	if l.counts() {
		l.chronicle.add(e, call, l.chronicle.now())
	}
}

// began notes that a use has begun, if the process lives. It has done so in the model when
// its turn did, which is before its function runs: updates that concern others can be
// acknowledged between.
func (l *life) began(e event, call int64) bool {
	e.kind = evBegin
	if !l.counts() {
		return false
	}
	l.chronicle.add(e, call, l.chronicle.now())
	return true
}

func (l *life) execute(ctx context.Context, e event, linger bool) bool {
	call := l.chronicle.now()
	return l.goesOn(e, call, l.decider.Execute(ctx, question(e.principal, e.action), func(ctx context.Context) error {
		e.allowed = true
		e.revision, _ = actors.RevisionOf(ctx)
		l.decided(e, call)
		l.began(e, call)
		if linger {
			runtime.Gosched()
		}
		e.kind = evEnd
		l.instant(e)
		return nil
	}))
}

// admit holds a lease, and lets during do something under it.
func (l *life) admit(ctx context.Context, e event, during func(context.Context)) bool {
	call := l.chronicle.now()
	lease, err := l.decider.Admit(ctx, question(e.principal, e.action))
	if err != nil {
		return l.goesOn(e, call, err)
	}
	defer lease.Release()
	e.allowed, e.revision = true, lease.Decision().Revision
	l.decided(e, call)
	if !l.began(e, call) {
		return false
	}
	during(lease.Context())
	e.kind = evEnd
	l.instant(e)
	return l.counts()
}

func (l *life) decide(ctx context.Context, e event) bool {
	call := l.chronicle.now()
	d, err := l.decider.Decide(ctx, question(e.principal, e.action))
	if err == nil && d.Reason == policy.ReasonClosed { // denied, and not by the policy
		err = actors.ErrClosed
	}
	if err != nil {
		return l.goesOn(e, call, err)
	}
	e.allowed, e.revision = d.Allowed, d.Revision
	l.decided(e, call)
	return l.counts()
}

// goesOn notes a denial, and says whether its client goes on.
func (l *life) goesOn(e event, call int64, err error) bool {
	var denied *actors.DeniedError
	switch {
	case err == nil:
	case errors.As(err, &denied):
		e.allowed, e.revision = false, denied.Decision.Revision
		l.decided(e, call)
	case !l.counts(), errors.Is(err, actors.ErrClosed):
		return false
	default:
		l.chronicle.went(fmt.Errorf("%v is neither allowed nor denied: %w", e, err))
	}
	return l.counts()
}

// look asks about everything, as one client.
func (l *life) look(ctx context.Context) {
	for p := range chroniclePrincipals {
		for a := range chronicleActions {
			l.decide(ctx, event{principal: p, action: a})
		}
	}
}

// work lets clients use the process until it has ended, or they are done.
func (l *life) work(ctx context.Context, seed uint64, part, each int) {
	var clients sync.WaitGroup
	for client := range chronicleClients {
		rng := seeded(seed, part+client)
		clients.Go(func() {
			for range each {
				if !l.one(ctx, client, rng) {
					return
				}
			}
		})
	}
	clients.Wait()
}

// one does one thing at random.
func (l *life) one(ctx context.Context, client int, rng *rand.Rand) bool {
	e := event{client: client, principal: rng.IntN(chroniclePrincipals), action: rng.IntN(chronicleActions)}
	switch n := rng.IntN(20); {
	case n < 6:
		return l.execute(ctx, e, rng.IntN(3) == 0)
	case n < 11:
		linger := rng.IntN(4)
		return l.admit(ctx, e, func(context.Context) {
			for range linger {
				runtime.Gosched()
			}
		})
	case n < 12: // takes its own authority at times: the receipt cannot be full
		switches := []switched{{principal: e.principal, role: 0}, {role: shared}}
		return l.admit(ctx, e, func(under context.Context) { l.change(under, client, switches) })
	case n < 14:
		return l.decide(ctx, e)
	}
	return l.change(ctx, client, someSwitches(rng))
}

// someSwitches draws an update. One that is in part there is seen: it is of several parts
// at times.
func someSwitches(rng *rand.Rand) []switched {
	list := make([]switched, 1+max(0, rng.IntN(5)-2))
	for i := range list {
		list[i] = switched{principal: rng.IntN(chroniclePrincipals), role: rng.IntN(chronicleRoles + 1), on: rng.IntN(2) == 0}
	}
	return list
}

// times counts what chronicles were made of.
type times struct {
	histories, events, restarts, kills, losses, closes, stood, fell atomic.Int64
}

// restartRun is a chronicle of several processes on a machine.
type restartRun struct {
	t         *testing.T
	seed      uint64
	machine   *machine
	chronicle *chronicle
	times     *times
}

const lives = 4

func (r *restartRun) run(ctx context.Context) {
	for n := range lives {
		l := r.begin(ctx, n)
		if n == 0 {
			require.True(r.t, l.ask(ctx, 0, nil, foundation()))
		}
		r.live(ctx, l, n)
	}
	r.begin(ctx, lives).ended(r.t)
}

func (r *restartRun) begin(ctx context.Context, n int) *life {
	l, err := r.chronicle.began(r.t, r.machine)
	require.NoError(r.t, err, "seed %d, process %d\n%s", r.seed, n, r.chronicle.dump())
	r.times.restarts.Add(int64(min(n, 1)))
	l.look(ctx)
	return l
}

// live lets clients work with a process, until it is killed, loses power, or is closed.
func (r *restartRun) live(ctx context.Context, l *life, n int) {
	rng := seeded(r.seed, 100*n)
	defer l.ended(r.t)
	how := rng.IntN(5)
	if how == 0 { // while they work
		var closing sync.WaitGroup
		last := uint64(1 + rng.IntN(12))
		closing.Go(func() {
			if l.Await(ctx, l.Revision()+last-1) == nil {
				_ = l.Close(ctx)
			}
		})
		l.work(ctx, r.seed, 100*n+1, 12)
		_ = l.Close(ctx)
		closing.Wait()
		r.times.closes.Add(1)
		return
	}
	l.dieBefore(1 + rng.IntN(70))
	l.work(ctx, r.seed, 100*n+1, 25)
	l.process.kill() // at last
	if how < 3 {
		r.times.kills.Add(1)
		return
	}
	r.machine = r.machine.powerLoss(rng, someUnsynced(rng))
	r.times.losses.Add(1)
}

// TestG1G2G4G5_HistoriesOverRestarts records and checks histories that go over several
// processes: uses begin only when allowed, updates wait for what they forbid, revisions
// never go back, and what was acknowledged, or acted upon, is there after a crash.
func TestG1G2G4G5_HistoriesOverRestarts(t *testing.T) {
	var sum times
	t.Cleanup(func() {
		t.Logf("%d histories of %d events, %d restarts after %d kills, %d losses of power and %d ends; of the updates in doubt %d stood and %d did not",
			sum.histories.Load(), sum.events.Load(), sum.restarts.Load(), sum.kills.Load(), sum.losses.Load(), sum.closes.Load(),
			sum.stood.Load(), sum.fell.Load())
		require.Positive(t, sum.stood.Load()*sum.fell.Load(), "updates in doubt have to come to both")
	})
	for n := range either(5, 2000) {
		seed := uint64(n + 1)
		t.Run(seedName(seed), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			r := &restartRun{t: t, seed: seed, machine: newMachine(), chronicle: newChronicle(), times: &sum}
			r.run(ctx)
			c := r.chronicle
			require.NoError(t, c.wrong, "%s", seedName(seed))
			if !c.legal(t) {
				t.Fatalf("the history of seed %d is illegal:\n%s%s", seed, c.dump(), r.machine.disk)
			}
			sum.histories.Add(1)
			sum.events.Add(int64(len(c.events)))
			sum.stood.Add(int64(c.stood))
			sum.fell.Add(int64(c.fell))
		})
	}
}
