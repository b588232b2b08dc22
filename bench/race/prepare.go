package race

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// prepare sees that the target does what its description says: both changes are
// acknowledged and have their effect, sooner or later; and what it offers as evidence
// follows an operation, and nothing else. It leaves the permission granted.
func (r *runner) prepare(ctx context.Context) error {
	c, err := r.target.newClient(&r.target.Call.Request)
	if err != nil {
		return fmt.Errorf("call: %w", err)
	}
	defer c.close()
	steps := []func() error{
		func() error { return r.follow(ctx, c, true) },
		func() error { return r.seesUse(ctx, c) },
		func() error { return r.echoesBack(ctx) },
		func() error { return r.follow(ctx, c, false) },
		func() error { return r.seesNothing(ctx, c) },
		func() error { return r.follow(ctx, c, true) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	// What comes begins with the grant that was made last.
	r.history.flips = r.history.flips[len(r.history.flips)-1:]
	r.history.probes = nil
	r.flipped.Store(0)
	return nil
}

// follow changes the permission and calls until the answer is that of the change.
func (r *runner) follow(ctx context.Context, c *client, grant bool) error {
	if _, err := r.change(ctx, grant); err != nil {
		return err
	}
	want, word := denied, "denied"
	if grant {
		want, word = allowed, "allowed"
	}
	return r.eventually(ctx, func() (late, err error) {
		got, answer, err := r.callOnce(ctx, c)
		if err != nil {
			return tolerate(err)
		}
		if got.outcome == want {
			return nil, nil
		}
		late = fmt.Errorf("%w: after the change was acknowledged the call is not %s: %v", ErrTarget, word, answer)
		if got.outcome == other {
			return nil, late
		}
		return late, nil
	})
}

// eventually tries until there is nothing that is late. After [Options.Settle] what is late
// is the error.
func (r *runner) eventually(ctx context.Context, try func() (late, err error)) error {
	for end := time.Now().Add(r.options.Settle); ; {
		late, err := try()
		switch {
		case err != nil:
			return err
		case late == nil:
			return nil
		case time.Now().After(end):
			return late
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// tolerate takes a call that was broken off for one that may be answered the next time: a
// target may cut off what it does not allow any more.
func tolerate(failure error) (late, err error) {
	if errors.Is(failure, ErrTarget) {
		return nil, failure
	}
	return failure, nil
}

func (r *runner) callOnce(ctx context.Context, c *client) (call, reply, error) {
	answer, err := c.send(ctx, r.values())
	if err != nil {
		return call{}, answer, fmt.Errorf("call: %w", err)
	}
	judged, err := r.judge(answer)
	return judged, answer, err
}

// seesUse sees that a call which is allowed shows in the effects, and takes the measure of
// it: what lasts longer than the time between two changes shows nothing.
func (r *runner) seesUse(ctx context.Context, c *client) error {
	before, err := r.glance(ctx)
	if err != nil {
		return err
	}
	made, answer, err := r.callOnce(ctx, c)
	if err != nil {
		return err
	}
	if made.outcome != allowed {
		return fmt.Errorf("%w: the call is allowed at first, and then not: %v", ErrTarget, answer)
	}
	r.options.DwellMin = max(r.options.DwellMin, 3*time.Duration(made.End-made.Start))
	r.options.DwellMax = max(r.options.DwellMax, r.options.DwellMin)
	if r.looker == nil {
		return nil
	}
	return r.eventually(ctx, func() (late, err error) {
		after, err := r.glance(ctx)
		if err != nil || r.target.hasLedger() && r.listed(before.entries, made.Span) || !r.target.hasLedger() && after.value != before.value {
			return nil, err
		}
		if r.target.hasLedger() {
			return fmt.Errorf("%w: effects: a call was allowed from %d to %d, and no new entry lies within; stamps must be readings of this host's CLOCK_MONOTONIC, in nanoseconds",
				ErrTarget, made.Start, made.End), nil
		}
		return fmt.Errorf("%w: effects: a call was allowed, and the value is %s as before", ErrTarget, before.value), nil
	})
}

// seesNothing sees that the effects stand still while the permission is taken, but for a
// call that is denied.
func (r *runner) seesNothing(ctx context.Context, c *client) error {
	if r.looker == nil {
		return nil
	}
	return r.eventually(ctx, func() (late, err error) {
		before, err := r.glance(ctx)
		if err != nil {
			return nil, err
		}
		if _, _, err := r.callOnce(ctx, c); err != nil {
			return tolerate(err)
		}
		if err := pause(ctx, r.options.DwellMin); err != nil {
			return nil, err
		}
		after, err := r.glance(ctx)
		if err != nil || after == before {
			return nil, err
		}
		return fmt.Errorf("%w: effects: they change while the permission is revoked and only denied calls are made: from %v to %v",
			ErrTarget, before, after), nil
	})
}

// glimpse is what a look has seen.
type glimpse struct {
	value   string
	entries int // of the ledger, that were seen so far
}

func (g glimpse) String() string {
	if g.value != "" {
		return g.value
	}
	return fmt.Sprintf("%d entries", g.entries)
}

// glance looks at the effects, if there are any.
func (r *runner) glance(ctx context.Context) (glimpse, error) {
	if r.looker == nil {
		return glimpse{}, nil
	}
	if err := r.look(ctx); err != nil {
		return glimpse{}, err
	}
	g := glimpse{entries: len(r.history.entries)}
	if n := len(r.history.probes); n > 0 {
		g.value = r.history.probes[n-1].value
	}
	return g, nil
}

// listed reports whether an entry that was seen after the first so many lies within a call.
func (r *runner) listed(after int, made Span) bool {
	for _, use := range r.history.entries[after:] {
		if use.within(made) {
			return true
		}
	}
	return false
}

// echoesBack sees that a stream is admitted while the permission is granted.
func (r *runner) echoesBack(ctx context.Context) error {
	if r.target.Echo == nil {
		return nil
	}
	e, err := r.newEchoer()
	if err != nil {
		return err
	}
	defer e.close()
	e.open(ctx)
	if !e.admitted() {
		return fmt.Errorf("%w: echo: the first line did not come back within %v while the permission is granted: %s",
			ErrTarget, established, e.first.Load())
	}
	return nil
}
