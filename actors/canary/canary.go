package canary

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/observe"
	"github.com/interlock-authz/interlock/actors/policy"
)

const (
	// DefaultSLO is the longest time that a revocation may take without an SLO miss.
	DefaultSLO = time.Second
	// DefaultTimeout is the longest time that a round may take.
	DefaultTimeout = 30 * time.Second
	// DefaultName is the name of the probe.
	DefaultName = "server"
	// lastWait is how long the canary tries to revoke the probe's grant after a canceled round.
	lastWait = 5 * time.Second
)

// Engine is what the canary needs of an [actors.Engine].
type Engine interface {
	Execute(ctx context.Context, req actors.Request, fn actors.Func) error
	Admit(ctx context.Context, req actors.Request) (*actors.Lease, error)
	Decide(ctx context.Context, req actors.Request) (policy.Decision, error)
	Update(ctx context.Context, u actors.Update) (actors.Receipt, error)
	At(revision uint64, look func(policy.View)) error
}

// Options of a canary.
type Options struct {
	Engine Engine
	// Name is the name of the probe: its principal is interlock-canary:NAME. Each engine on a log
	// needs another name. A name should stay the same over restarts, because the log keeps a
	// record of each. Empty means [DefaultName].
	Name string
	// Interval is the time from the start of a round to the start of the next one. The first round
	// starts after a random part of it.
	Interval time.Duration
	// SLO is the longest time that a revocation may take without an SLO miss. 0 means [DefaultSLO].
	SLO time.Duration
	// Timeout is the longest time that a round may take. 0 means [DefaultTimeout].
	Timeout time.Duration
	// Logger gets violations, failures and SLO misses; nil for slog.Default.
	Logger *slog.Logger
}

// Canary runs rounds. Make one with [New]. Its methods are safe for concurrent use; [Canary.Run] is
// called once.
type Canary struct {
	o       Options
	who     policy.Principal
	log     *slog.Logger
	latency observe.Histogram

	// Only Run uses these.
	revoked uint64 // the revision of the last revocation that returned nil, if no grant followed
	granted bool   // the probe may have the role

	mu     sync.Mutex
	counts Counts
	first  *Violation
}

// Counts are the results of the rounds that have ended.
type Counts struct {
	// Passed, Failed and Violated count rounds.
	Passed, Failed, Violated uint64
	// Violations counts what was found in violated rounds.
	Violations uint64
	// Misses counts the revocations above the SLO.
	Misses uint64
	// Latency has the times from the call to the return of revocations that returned nil.
	Latency observe.Durations
	// LastSuccess is when the last round passed. Before that it is when the canary was made.
	LastSuccess time.Time
}

// Rounds returns the number of rounds.
func (c Counts) Rounds() uint64 { return c.Passed + c.Failed + c.Violated }

// New returns a canary. The error wraps [policy.ErrInvalid] or [policy.ErrMalformed].
func New(o Options) (*Canary, error) {
	o.Name, o.SLO, o.Timeout = cmp.Or(o.Name, DefaultName), cmp.Or(o.SLO, DefaultSLO), cmp.Or(o.Timeout, DefaultTimeout)
	if o.Engine == nil {
		return nil, fmt.Errorf("%w: canary.Options.Engine is nil", policy.ErrInvalid)
	}
	if o.Interval <= 0 || o.SLO < 0 || o.Timeout < 0 {
		return nil, fmt.Errorf("%w: canary.Options.Interval must be positive, SLO and Timeout must not be negative", policy.ErrInvalid)
	}
	who, err := policy.ParsePrincipal(policy.CanaryKind + ":" + o.Name)
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &Canary{o: o, who: who, log: o.Logger, counts: Counts{LastSuccess: time.Now()}}, nil
}

// Principal returns the principal of the probe.
func (c *Canary) Principal() policy.Principal { return c.who }

// Interval returns the time from the start of a round to the start of the next one.
func (c *Canary) Interval() time.Duration { return c.o.Interval }

// Run runs rounds until ctx is done. It then ends the round in progress without a result, tries
// for at most five seconds to revoke the probe's grant, and returns. It returns before the engine
// is closed if the caller waits for it.
func (c *Canary) Run(ctx context.Context) {
	defer c.leave(ctx)
	wait := rand.N(c.o.Interval)
	for {
		next := time.NewTimer(wait)
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return
		}
		start := time.Now()
		c.round(ctx)
		wait = max(0, c.o.Interval-time.Since(start))
	}
}

// leave revokes the grant that a canceled or failed round has left.
func (c *Canary) leave(ctx context.Context) {
	if !c.granted {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWait)
	defer cancel()
	if _, err := c.o.Engine.Update(ctx, actors.Update{Changes: []policy.Change{c.revocation()}}); err != nil {
		c.log.Warn("canary: the grant of the probe remains", slog.String("principal", c.who.String()), slog.Any("error", err))
	}
}

// Counts returns the results so far.
func (c *Canary) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.counts
	n.Latency = c.latency.Durations()
	return n
}

// Violation returns the first violation, nil if there was none. It stays for the life of the
// canary.
func (c *Canary) Violation() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first == nil {
		return nil
	}
	return c.first
}

// round runs one round, and counts and logs its result.
func (c *Canary) round(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	r := newRound(c)
	err := r.run(limited)
	violations, doubts := r.judge()
	err = errors.Join(err, doubts)
	if ctx.Err() != nil && len(violations) == 0 {
		return // the canary is stopping
	}
	for _, v := range violations {
		c.log.Error("canary: the engine broke a promise", slog.String("promise", v.Promise), slog.String("what", v.What),
			slog.String("operation", v.Operation), slog.Uint64("decided", v.Decided), slog.Uint64("update", v.Update),
			slog.String("principal", c.who.String()))
	}
	missed := r.latency > c.o.SLO
	switch {
	case len(violations) > 0:
	case err != nil:
		c.log.Warn("canary: the round failed", slog.Any("error", err))
	case missed:
		c.log.Warn("canary: the revocation took longer than the SLO", slog.Duration("took", r.latency), slog.Duration("slo", c.o.SLO))
	}
	c.count(violations, err != nil, missed)
}

func (c *Canary) count(violations []*Violation, failed, missed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := &c.counts
	if missed {
		n.Misses++
	}
	switch {
	case len(violations) > 0:
		n.Violated++
		n.Violations += uint64(len(violations))
		if c.first == nil {
			c.first = violations[0]
		}
	case failed:
		n.Failed++
	default:
		n.Passed++
		n.LastSuccess = time.Now()
	}
}

func (c *Canary) revocation() policy.Change {
	return policy.RevokeRole(policy.Grant{Principal: c.who, Role: policy.CanaryRole, Reason: reason})
}

// reason is recorded with each update.
const reason = "canary"
