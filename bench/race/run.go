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

// Options of a run. What is zero gets the value that stands in its comment.
type Options struct {
	// Callers is how many connections call the protected operation: 16.
	Callers int
	// Duration is how long they do: 10 s.
	Duration time.Duration
	// Calls bounds how often they do: 2,000,000.
	Calls int
	// Seed makes the times between changes: a run can be repeated as far as the machine
	// can. 0 is a seed like any other.
	Seed uint64
	// DwellMin and DwellMax bound the time between a change and the next, opposite one:
	// 20 ms and 60 ms.
	DwellMin, DwellMax time.Duration
	// Settle is how long the target may take, before the run, to follow a change: 10 s.
	Settle time.Duration
	// Progress is called about ten times a second; nil for nobody.
	Progress func(Progress)
}

// Progress is how far a run has come.
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
		return errors.New("race: callers, calls and times have to be positive, and the longest dwell not below the shortest")
	}
	return nil
}

// runner is a run under way.
type runner struct {
	options Options
	target  *Target
	name    string // of the run, for templates
	numbers atomic.Int64
	made    atomic.Int64 // calls
	flipped atomic.Int64
	granter *client
	revoker *client
	looker  *client // nil without effects
	echoes  *echoer // nil without streams
	history history

	mu     sync.Mutex
	broken string // the first answer that was neither
}

// Run tests a target until the time is over, the calls are made, or ctx is done, and
// leaves it with the permission granted. It returns an error if the target cannot be
// tested: its calls are not answered as it says, or a change has no effect within
// [Options.Settle].
func Run(ctx context.Context, t *Target, o Options) (*Report, error) {
	o = o.withDefaults()
	if err := errors.Join(o.check(), t.Check()); err != nil {
		return nil, err
	}
	r := &runner{options: o, target: t, name: rand.Text()[:8]}
	defer r.close()
	if err := r.connect(); err != nil {
		return nil, err
	}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := r.race(ctx); err != nil {
		return nil, err
	}
	return r.report(time.Since(began)), nil
}

func (r *runner) connect() (err error) {
	if r.granter, err = r.target.newClient(&r.target.Grant.Request); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	if r.revoker, err = r.target.newClient(&r.target.Revoke.Request); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	if r.target.Effects != nil {
		if r.looker, err = r.target.newClient(&r.target.Effects.Request); err != nil {
			return fmt.Errorf("effects: %w", err)
		}
	}
	return nil
}

func (r *runner) close() {
	for _, c := range []*client{r.granter, r.revoker, r.looker} {
		if c != nil {
			c.close()
		}
	}
}

func (r *runner) values() values {
	return values{Number: int(r.numbers.Add(1)), Run: r.name, Seen: len(r.history.entries)}
}

// prepare sees that the target does what its description says: both changes are
// acknowledged and have their effect, sooner or later. It leaves the permission granted.
func (r *runner) prepare(ctx context.Context) error {
	c, err := r.target.newClient(&r.target.Call.Request)
	if err != nil {
		return fmt.Errorf("call: %w", err)
	}
	defer c.close()
	for _, grant := range []bool{true, false, true} {
		if _, err := r.change(ctx, grant); err != nil {
			return err
		}
		if err := r.settle(ctx, c, grant); err != nil {
			return err
		}
	}
	if r.looker != nil {
		if err := r.look(ctx); err != nil {
			return err
		}
	}
	r.history.probes, r.history.flips = nil, nil
	r.flipped.Store(0)
	return nil
}

// settle calls until the answer is that of the change.
func (r *runner) settle(ctx context.Context, c *client, granted bool) error {
	want, word := Denied, "denied"
	if granted {
		want, word = Allowed, "allowed"
	}
	for end := time.Now().Add(r.options.Settle); ; {
		answer, err := c.send(ctx, r.values())
		if err != nil {
			return fmt.Errorf("call: %w", err)
		}
		got, err := r.judge(answer)
		if err != nil {
			return err
		}
		if got.outcome == want {
			return nil
		}
		if got.outcome == Other || time.Now().After(end) {
			return fmt.Errorf("%w: after the change was acknowledged the call is not %s: %v", ErrTarget, word, answer)
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
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

// judge reads an answer to the protected call. Its error is that of stamps that cannot be
// those of this host's clock.
func (r *runner) judge(a reply) (call, error) {
	c := call{Span: Span{a.start, a.end}}
	switch {
	case r.target.Call.Denied.matches(a):
		c.outcome = Denied
	case r.target.Call.Allowed.matches(a):
		c.outcome = Allowed
	}
	if c.outcome != Allowed || r.target.Call.Use == nil {
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
		return c, fmt.Errorf("%w: use: stamps %d to %d are not within the call, %d to %d; they have to be of this host's CLOCK_MONOTONIC, in nanoseconds",
			ErrTarget, c.use.Start, c.use.End, a.start, a.end)
	}
	return c, nil
}

// change sends a change, and wants it acknowledged.
func (r *runner) change(ctx context.Context, grant bool) (flip, error) {
	c, want, word := r.revoker, r.target.Revoke.Acknowledged, "revoke"
	if grant {
		c, want, word = r.granter, r.target.Grant.Acknowledged, "grant"
	}
	a, err := c.send(ctx, r.values())
	if err == nil && !want.matches(a) {
		err = fmt.Errorf("%w: it was not acknowledged: %v", ErrTarget, a)
	}
	if err != nil {
		return flip{}, fmt.Errorf("%s: %w", word, err)
	}
	f := flip{Span{a.start, a.end}, grant}
	r.history.flips = append(r.history.flips, f)
	r.flipped.Add(1)
	return f, nil
}

// race lets the callers call while the permission flips.
func (r *runner) race(ctx context.Context) error {
	calling, stop := context.WithTimeout(ctx, r.options.Duration)
	defer stop()
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
			if err := r.call(calling, &records[n]); err != nil {
				failed <- err
				stop()
			}
			if int(r.made.Load()) >= r.options.Calls {
				stop()
			}
		})
	}
	done := make(chan struct{})
	go r.progress(done)
	err := r.flip(calling)
	stop()
	callers.Wait()
	close(done)
	// The target is left as it was found, whoever has given up.
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err = errors.Join(err, r.leave(leaving))
	select {
	case failure := <-failed:
		err = errors.Join(failure, err)
	default:
	}
	for _, record := range records {
		r.history.calls = append(r.history.calls, record...)
	}
	if r.echoes != nil {
		r.history.echoes = r.echoes.found()
	}
	return err
}

// leave grants the permission, if the last change took it, and looks a last time.
func (r *runner) leave(ctx context.Context) error {
	if n := len(r.history.flips); n > 0 && r.history.flips[n-1].grant {
		return nil
	}
	if _, err := r.change(ctx, true); err != nil {
		return err
	}
	if r.looker == nil {
		return nil
	}
	return r.look(ctx)
}

// call calls until ctx is done.
func (r *runner) call(ctx context.Context, record *[]call) error {
	c, err := r.target.newClient(&r.target.Call.Request)
	if err != nil {
		return err
	}
	defer c.close()
	for ctx.Err() == nil && int(r.made.Add(1)) <= r.options.Calls {
		// A call that is under way when the time is over is heard to its end.
		a, err := c.send(context.WithoutCancel(ctx), values{Number: int(r.numbers.Add(1)), Run: r.name})
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
		if judged.outcome == Other {
			r.breaks(a.String())
		}
		*record = append(*record, judged)
	}
	return nil
}

// breaks keeps the first answer that was neither.
func (r *runner) breaks(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken == "" {
		r.broken = text
	}
}

// flip takes the permission and gives it back until ctx is done.
func (r *runner) flip(ctx context.Context) error {
	rng := randv2.New(randv2.NewPCG(r.options.Seed, 0))
	dwell := func() error {
		return pause(ctx, r.options.DwellMin+upTo(rng, r.options.DwellMax-r.options.DwellMin))
	}
	// Changes are sent whole, even when the time is over.
	sending := context.WithoutCancel(ctx)
	if _, err := r.change(sending, true); err != nil {
		return err
	}
	for {
		if r.echoes != nil {
			r.echoes.open(ctx)
		}
		if dwell() != nil {
			return nil
		}
		if err := r.deny(sending, dwell); err != nil {
			return err
		}
		if _, err := r.change(sending, true); err != nil {
			return err
		}
	}
}

// deny revokes, and looks at what happens all the same until the dwell is over.
func (r *runner) deny(ctx context.Context, dwell func() error) error {
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
	if err := r.look(ctx); err != nil {
		return err
	}
	_ = dwell()
	return r.look(ctx)
}

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
	if e.Value != "" {
		value, err := at(doc, e.Value)
		if err != nil {
			return fmt.Errorf("%w: effects: %w", ErrTarget, err)
		}
		r.history.probes = append(r.history.probes, probe{Span{a.start, a.end}, fmt.Sprint(value)})
	}
	if e.Entries == "" {
		return nil
	}
	return r.readEntries(doc)
}

func (r *runner) readEntries(doc any) error {
	e := r.target.Effects
	found, err := at(doc, e.Entries)
	list, ok := found.([]any)
	if err == nil && !ok {
		err = fmt.Errorf("%q is no list", e.Entries)
	}
	if err != nil {
		return fmt.Errorf("%w: effects: %w", ErrTarget, err)
	}
	for _, entry := range list {
		use, err := e.Use.span(entry)
		if err != nil {
			return fmt.Errorf("%w: effects: an entry: %w", ErrTarget, err)
		}
		r.history.entries = append(r.history.entries, use)
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
