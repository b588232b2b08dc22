package race

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	randv2 "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a run. The zero value of a field selects the default that its comment names.
type Options struct {
	// Callers is the number of connections that call the protected operation: 16.
	Callers int
	// Duration is the length of the run: 10 s.
	Duration time.Duration
	// Calls bounds the number of calls: 2,000,000.
	Calls int
	// Seed determines the times between changes, so that a run can be repeated as far as
	// the machine allows.
	Seed uint64
	// DwellMin and DwellMax bound the time from a change to the next, opposite one: 20 ms
	// and 60 ms.
	DwellMin, DwellMax time.Duration
	// Settle bounds how long the target may take to follow a change before the run: 10 s.
	Settle time.Duration
	// Progress is called about ten times a second. It may be nil.
	Progress func(Progress)
}

// Progress is the state of a run.
type Progress struct {
	Elapsed, Duration time.Duration
	Calls, Changes    int
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	if o.Callers == 0 {
		o.Callers = 16
	}
	if o.Calls == 0 {
		o.Calls = 2_000_000
	}
	set(&o.Duration, 10*time.Second)
	set(&o.DwellMin, 20*time.Millisecond)
	set(&o.DwellMax, max(60*time.Millisecond, o.DwellMin))
	set(&o.Settle, 10*time.Second)
	return o
}

func (o Options) check() error {
	if o.Callers < 1 || o.Calls < 1 || o.Duration < 0 || o.DwellMin < 0 || o.DwellMax < o.DwellMin {
		return errors.New("race: callers, calls and times must be positive, and the longest dwell at least the shortest")
	}
	return nil
}

// runner is a run in progress.
type runner struct {
	options Options
	target  *Target
	name    string // of the run, for templates
	numbers atomic.Int64
	made    atomic.Int64 // of the calls
	flipped atomic.Int64
	granter *client
	revoker *client
	looker  *client // nil without effects
	finder  *client // of [Target.Found]; nil without
	restore *client // nil without
	found   any     // the permission as it was before the run
	echoes  *echoer // nil without streams
	history history
	entries map[Span]bool // of the ledger, that were seen
	taken   bool          // the permission may be revoked
	changed bool          // a change was sent

	mu     sync.Mutex
	broken string // the first answer that is neither allowed nor denied
}

// ErrInconclusive is wrapped by the error of a run that proves nothing: no call was
// allowed, no call was denied, or no revocation was completed.
var ErrInconclusive = errors.New("race: the run is inconclusive")

// interruptGrace is how long requests in progress may take when the run is interrupted.
const interruptGrace = time.Second

// lingering returns a context that is done d after ctx is. cancel ends it at once and must be called.
func lingering(ctx context.Context, d time.Duration) (longer context.Context, cancel context.CancelFunc) {
	longer, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		_ = pause(longer, d)
		end()
	})
	return longer, func() { stop(); end() }
}

// Run tests a target until the duration has passed, the calls are made, or ctx is done.
// First it checks that the target can be tested: each change takes effect within
// [Options.Settle], and the evidence that the target offers follows an operation. If not,
// the error wraps [ErrTarget]. If a call takes long, Run makes the times between changes
// longer. At the end it restores the permission that [Target.Found] read, or grants it if
// the target has no Found. If ctx ends, Run returns within a few seconds: requests in
// progress get one second, and restoring the permission gets two more. The report then
// covers the shorter time.
func Run(ctx context.Context, t *Target, o Options) (report *Report, err error) {
	o = o.withDefaults()
	if err := errors.Join(o.check(), t.Check()); err != nil {
		return nil, err
	}
	r := &runner{options: o, target: t, name: rand.Text()[:8], entries: map[Span]bool{}}
	defer r.close()
	if err := r.connect(); err != nil {
		return nil, err
	}
	if err := r.find(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err = errors.Join(err, r.leave(ctx)); err != nil {
			report = nil
		}
	}()
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := r.race(ctx); err != nil {
		return nil, err
	}
	report = r.report(time.Since(began))
	if report.ViolationCount == 0 && (report.Revocations == 0 || report.Allowed == 0 || report.Denied == 0) {
		return nil, fmt.Errorf("%w: %d calls were allowed, %d denied and %d answered in another way, in %d revocations; the first other answer: %s",
			ErrInconclusive, report.Allowed, report.Denied, report.Other, report.Revocations, report.FirstOther)
	}
	return report, nil
}

func (r *runner) connect() (err error) {
	if r.granter, err = r.target.newClient(&r.target.Grant.Request); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	if r.revoker, err = r.target.newClient(&r.target.Revoke.Request); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	if r.target.Restore != nil {
		if r.finder, err = r.target.newClient(&r.target.Found.Request); err != nil {
			return fmt.Errorf("found: %w", err)
		}
		if r.restore, err = r.target.newClient(&r.target.Restore.Request); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		r.restore.sendOnce()
	}
	r.granter.sendOnce()
	r.revoker.sendOnce()
	if r.target.Effects != nil {
		if r.looker, err = r.target.newClient(&r.target.Effects.Request); err != nil {
			return fmt.Errorf("effects: %w", err)
		}
	}
	return nil
}

func (r *runner) close() {
	for _, c := range []*client{r.granter, r.revoker, r.looker, r.finder, r.restore} {
		if c != nil {
			c.close()
		}
	}
}

func (r *runner) values() values {
	return values{Number: int(r.numbers.Add(1)), Run: r.name, Seen: len(r.history.entries)}
}

// pause waits, unless ctx is done first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// judge reads an answer to the protected call. It returns an error for stamps that cannot
// come from the clock of this host.
func (r *runner) judge(a reply) (call, error) {
	c := call{Span: Span{a.start, a.end}}
	switch {
	case r.target.Call.Denied.matches(a):
		c.outcome = denied
	case r.target.Call.Allowed.matches(a):
		c.outcome = allowed
	}
	if c.outcome != allowed || r.target.Call.Use == nil {
		return c, nil
	}
	doc, err := a.document()
	if err != nil {
		return c, fmt.Errorf("%w: %w", ErrTarget, err)
	}
	if c.use, err = r.target.Call.Use.span(doc); err != nil {
		return c, fmt.Errorf("%w: use: %w", ErrTarget, err)
	}
	if !c.use.within(c.Span) {
		return c, fmt.Errorf("%w: use: stamps %d to %d are not within the call, %d to %d; they must be readings of this host's CLOCK_MONOTONIC, in nanoseconds",
			ErrTarget, c.use.Start, c.use.End, a.start, a.end)
	}
	return c, nil
}

// change sends a change and requires its acknowledgment.
func (r *runner) change(ctx context.Context, grant bool) (flip, error) {
	c, want, word := r.revoker, r.target.Revoke.Acknowledged, "revoke"
	if grant {
		c, want, word = r.granter, r.target.Grant.Acknowledged, "grant"
	}
	r.taken, r.changed = true, true // until a grant is acknowledged
	a, err := c.send(ctx, r.values())
	if err == nil && !want.matches(a) {
		err = fmt.Errorf("%w: it was not acknowledged: %v", ErrTarget, a)
	}
	if err != nil {
		return flip{}, fmt.Errorf("%s: %w", word, err)
	}
	f := flip{Span{a.start, a.end}, grant}
	r.taken = !grant
	r.history.flips = append(r.history.flips, f)
	r.flipped.Add(1)
	return f, nil
}

// race lets the callers call while the permission flips.
func (r *runner) race(ctx context.Context) error {
	calling, stop := context.WithTimeout(ctx, r.options.Duration)
	defer stop()
	// Calls in progress at the end of the run are completed, but get little time if the run
	// is interrupted.
	whole, cut := lingering(ctx, interruptGrace)
	defer cut()
	var (
		callers sync.WaitGroup
		records = make([][]call, r.options.Callers)
		failed  = make(chan error, r.options.Callers+2)
	)
	if r.target.Echo != nil {
		var err error
		if r.echoes, err = r.newEchoer(); err != nil {
			return err
		}
		defer r.echoes.close()
	}
	for n := range records {
		callers.Go(func() {
			if err := r.call(calling, whole, &records[n]); err != nil {
				failed <- err
				stop()
			}
			if int(r.made.Load()) >= r.options.Calls {
				stop()
			}
		})
	}
	var showing sync.WaitGroup
	done := make(chan struct{})
	showing.Go(func() { r.progress(done) })
	err := r.flip(calling, whole)
	stop()
	callers.Wait()
	close(done)
	showing.Wait()
	select {
	case failure := <-failed:
		err = errors.Join(failure, err)
	default:
	}
	if err == nil {
		err = r.finish(whole)
	}
	for _, record := range records {
		r.history.calls = append(r.history.calls, record...)
	}
	if r.echoes != nil {
		r.history.echoes = r.echoes.found()
	}
	return err
}

// finish grants the permission once more, so that the last revocation ends, and looks for
// evidence that was not seen before.
func (r *runner) finish(ctx context.Context) error {
	if r.taken {
		if _, err := r.change(ctx, true); err != nil {
			return err
		}
	}
	if r.looker == nil {
		return nil
	}
	return r.look(ctx)
}

// find reads the permission as it is before the run.
func (r *runner) find(ctx context.Context) error {
	if r.finder == nil {
		return nil
	}
	a, err := r.finder.send(ctx, r.values())
	if err != nil {
		return fmt.Errorf("found: %w", err)
	}
	if a.status >= 300 {
		return fmt.Errorf("%w: found: %v", ErrTarget, a)
	}
	doc, err := a.document()
	if err == nil {
		r.found, err = at(doc, r.target.Found.Value)
	}
	if err != nil {
		return fmt.Errorf("%w: found: %w", ErrTarget, err)
	}
	return nil
}

// leave restores the permission that the run found. Without one it grants the permission if
// it may be revoked. It does so after an interrupt too.
func (r *runner) leave(ctx context.Context) error {
	limit := patience
	if ctx.Err() != nil {
		limit = 2 * interruptGrace
	}
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if r.restore != nil && r.changed {
		v := r.values()
		v.Found = r.found
		a, err := r.restore.send(leaving, v)
		if err == nil && !r.target.Restore.Acknowledged.matches(a) {
			err = fmt.Errorf("%w: not acknowledged: %v", ErrTarget, a)
		}
		if err != nil {
			return fmt.Errorf("restore: the permission may differ from what it was before the run: %w", err)
		}
		return nil
	}
	if !r.taken {
		return nil
	}
	if _, err := r.change(leaving, true); err != nil {
		return fmt.Errorf("the permission may still be revoked: %w", err)
	}
	return nil
}

// call sends calls until ctx is done. A call in progress ends with whole.
func (r *runner) call(ctx, whole context.Context, record *[]call) error {
	c, err := r.target.newClient(&r.target.Call.Request)
	if err != nil {
		return err
	}
	defer c.close()
	for ctx.Err() == nil && int(r.made.Add(1)) <= r.options.Calls {
		a, err := c.send(whole, values{Number: int(r.numbers.Add(1)), Run: r.name})
		if err != nil {
			r.breaks(err.Error())
			*record = append(*record, call{Span: Span{a.start, a.end}})
			if err := pause(ctx, time.Millisecond); err != nil {
				return nil
			}
			continue
		}
		judged, err := r.judge(a)
		if err != nil {
			return err
		}
		if judged.outcome == other {
			r.breaks(a.String())
		}
		*record = append(*record, judged)
	}
	return nil
}

// breaks records the first answer that is neither allowed nor denied.
func (r *runner) breaks(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken == "" {
		r.broken = text
	}
}

// flip revokes and grants the permission until ctx is done. A change in progress ends with
// whole.
func (r *runner) flip(ctx, whole context.Context) error {
	rng := randv2.New(randv2.NewPCG(r.options.Seed, 0))
	dwell := func() error {
		return pause(ctx, r.options.DwellMin+upTo(rng, r.options.DwellMax-r.options.DwellMin))
	}
	for {
		if r.echoes != nil {
			r.echoes.open(ctx)
		}
		if dwell() != nil {
			return nil
		}
		if err := r.deny(whole, dwell); err != nil {
			return err
		}
		if _, err := r.change(whole, true); err != nil {
			return err
		}
	}
}

// drained bounds how long a target may take to acknowledge a revocation. A slower target
// waits for the end of running uses.
const drained = time.Second

// deny revokes the permission and looks for violations until the dwell time is over.
func (r *runner) deny(ctx context.Context, dwell func() error) error {
	if r.echoes != nil {
		hangUp := time.AfterFunc(drained, r.echoes.hangUp)
		defer hangUp.Stop()
	}
	if _, err := r.change(ctx, false); err != nil {
		return err
	}
	if r.echoes != nil {
		r.echoes.challenge()
	}
	if r.looker == nil {
		_ = dwell()
		return nil
	}
	over := make(chan struct{})
	go func() { defer close(over); _ = dwell() }()
	for {
		if err := r.look(ctx); err != nil {
			<-over
			return err
		}
		select {
		case <-over:
			return r.look(ctx)
		case <-time.After(between):
		}
	}
}

// between is the time between two probes of the effects.
const between = 2 * time.Millisecond

func upTo(rng *randv2.Rand, d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(rng.Int64N(int64(d)))
}

// look probes the effects.
func (r *runner) look(ctx context.Context) error {
	a, err := r.looker.send(ctx, r.values())
	if err != nil {
		return fmt.Errorf("effects: %w", err)
	}
	if a.status >= 300 {
		return fmt.Errorf("%w: effects: %v", ErrTarget, a)
	}
	doc, err := a.document()
	if err != nil {
		return fmt.Errorf("%w: effects: %w", ErrTarget, err)
	}
	e := r.target.Effects
	if e.Value != "" && e.Entries == "" {
		value, err := at(doc, e.Value)
		if err != nil {
			return fmt.Errorf("%w: effects: %w", ErrTarget, err)
		}
		r.history.probes = append(r.history.probes, probe{Span{a.start, a.end}, fmt.Sprint(value)})
	}
	if e.Entries == "" {
		return nil
	}
	return r.readEntries(doc, a.end)
}

func (r *runner) readEntries(doc any, seen int64) error {
	e := r.target.Effects
	found, err := at(doc, e.Entries)
	list, ok := found.([]any)
	if err == nil && !ok {
		err = fmt.Errorf("%q is not a list", e.Entries)
	}
	if err != nil {
		return fmt.Errorf("%w: effects: %w", ErrTarget, err)
	}
	for _, entry := range list {
		use, err := e.Use.span(entry)
		if err != nil {
			return fmt.Errorf("%w: effects: an entry: %w", ErrTarget, err)
		}
		if use.End > seen {
			return fmt.Errorf("%w: effects: a use ends at %d, and the answer that lists it was read at %d; stamps must be readings of this host's CLOCK_MONOTONIC, in nanoseconds",
				ErrTarget, use.End, seen)
		}
		if !r.entries[use] {
			r.entries[use] = true
			r.history.entries = append(r.history.entries, use)
		}
	}
	return nil
}

// progress reports until the run is done.
func (r *runner) progress(done <-chan struct{}) {
	if r.options.Progress == nil {
		return
	}
	began := time.Now()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			r.options.Progress(Progress{
				Elapsed: time.Since(began), Duration: r.options.Duration,
				Calls: int(r.made.Load()), Changes: int(r.flipped.Load()),
			})
		}
	}
}
