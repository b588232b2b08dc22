package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Lease is a remote lease: the server has authorized an operation of this process, and a
// revocation waits until the operation has ended. The operation runs under [Lease.Context] and
// ends with [Lease.Release]. A Lease is safe for concurrent use.
type Lease struct {
	id      string
	grant   LeaseGrant
	holder  *holder
	ctx     context.Context
	cancel  context.CancelCauseFunc
	release sync.Once

	mu    sync.Mutex
	state leaseState
	sent  time.Duration // when the last renewal that succeeded was sent
}

// ID returns the ID of the lease. A resource can ask for it at its own commit point: see
// [Client.Lease].
func (l *Lease) ID() string { return l.id }

// Principal returns the principal that the lease is for.
func (l *Lease) Principal() string { return l.grant.Principal }

// Revision returns the revision of the decision that admitted the operation.
func (l *Lease) Revision() uint64 { return l.grant.Revision }

// Context returns the context of the operation. It has the values and the deadline of the context
// that Acquire was called with. It is done when that context is done, and when the lease is lost
// or released: then its cause is [ErrRevoked], [ErrLeaseExpired], [ErrLeaseEnded] or
// [ErrReleased].
func (l *Lease) Context() context.Context { return l.ctx }

// Check returns nil if the operation may continue at this moment, and otherwise why the lease is
// lost, as [Lease.Context] does. It reads a clock that counts the time in which the machine was
// suspended. Call it right before a side effect: a process that was paused may notice only there
// that its lease has expired.
func (l *Lease) Check() error {
	l.mu.Lock()
	err := l.state.check(l.holder.now())
	l.mu.Unlock()
	if err != nil {
		l.cancel(err)
		return err
	}
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	return nil
}

// Remaining returns the time until the server may end the lease, if no renewal succeeds: until
// then at the latest, no part of the operation may be running. It is 0 if that time has passed.
func (l *Lease) Remaining() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.state.deadline+margin(l.state.ttl)-l.holder.now(), 0)
}

// Release ends the operation. The caller promises that no part of it is still running. If the
// server cannot be reached, the release is tried again in the background until the lease has
// expired. Further calls do nothing.
func (l *Lease) Release() {
	l.release.Do(func() {
		l.mu.Lock()
		l.state.end(ErrReleased)
		until := l.state.deadline + margin(l.state.ttl)
		l.mu.Unlock()
		l.cancel(ErrReleased)
		l.holder.forget(l, until)
	})
}

// change changes the state, and cancels the context if the lease is lost. It returns when that
// changes, if nothing else happens; 0 if the lease is lost.
func (l *Lease) change(now time.Duration, f func(s *leaseState)) (wake time.Duration) {
	l.mu.Lock()
	f(&l.state)
	err := l.state.check(now)
	wake = l.state.wake()
	l.mu.Unlock()
	if err != nil {
		l.cancel(err)
		return 0
	}
	return wake
}

// look cancels the context if the lease is lost by now. It returns what change does.
func (l *Lease) look(now time.Duration) time.Duration { return l.change(now, func(*leaseState) {}) }

// renewal applies the answer to a renewal that was sent at that time.
func (l *Lease) renewal(sent, now time.Duration, state string, grace time.Duration) {
	l.change(now, func(s *leaseState) {
		switch state {
		case LeaseRenewed:
			s.renewed(sent)
			l.sent = max(l.sent, sent)
		case LeaseRevoked:
			s.renewedInGrace(sent, now, grace)
			l.sent = max(l.sent, sent)
		default:
			s.end(ErrLeaseEnded)
		}
	})
}

// Acquire asks the server to authorize an operation and to hold later revocations until it has
// ended. Without a subject it is for the caller; otherwise the caller needs interlock:lease on
// principals/ID. The error wraps [ErrDenied] if the policy does not allow it. If the lease was lost
// before Acquire returns, the error is that of [Lease.Check]. Otherwise it is a [*Problem], or that
// of ctx or of the connection.
//
// All leases of a client share one session: an event stream and a loop that renews them, which
// begin with the first lease. End them with [Client.Close].
func (c *Client) Acquire(ctx context.Context, e Evaluation) (*Lease, error) {
	h := c.leases
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	l := &Lease{id: hex.EncodeToString(random[:]), holder: h}
	if err := h.expect(l.id); err != nil {
		return nil, err
	}
	sent := h.now()
	request := call{
		method: http.MethodPut, path: LeasesPath + "/" + l.id,
		body: &LeaseRequest{Evaluation: e, TTL: h.ttl.Seconds(), Session: h.session},
	}
	if lost, err := h.put(ctx, request, &l.grant); err != nil {
		h.unexpect(l.id)
		p, answered := errors.AsType[*Problem](err)
		if lost || !answered || p.Status >= http.StatusInternalServerError {
			h.abandon(l.id, sent+h.ttl) // an attempt may have acquired it
		}
		if answered && p.Status == http.StatusForbidden {
			return nil, fmt.Errorf("%w: %w", ErrDenied, err)
		}
		return nil, err
	}
	l.sent, l.state = sent, granted(sent, time.Duration(l.grant.TTL*float64(time.Second)))
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	err := h.add(l)
	if err == nil {
		err = l.Check()
	}
	if err != nil {
		l.Release()
		return nil, err
	}
	return l, nil
}

// Execute acquires a lease, runs fn under its context and releases the lease. fn has to end when
// its context is done: at a revocation, when contact to the server is lost for too long, and when
// ctx is done. The error is that of [Client.Acquire] if fn did not run, and that of fn otherwise.
func (c *Client) Execute(ctx context.Context, e Evaluation, fn func(context.Context, *Lease) error) error {
	l, err := c.Acquire(ctx, e)
	if err != nil {
		return err
	}
	defer l.Release()
	return fn(l.ctx, l)
}

// Lease asks the server for a live lease of any holder. Other holders' leases need interlock:read
// on leases. The error is a [*Problem] with status 404 if it has ended. The answer can be stale
// when it arrives: it narrows the gap before a commit, and is no fencing.
func (c *Client) Lease(ctx context.Context, id string) (*LeaseStatus, error) {
	var s LeaseStatus
	if _, err := c.short(ctx, call{method: http.MethodGet, path: LeasesPath + "/" + id}, &s); err != nil {
		return nil, err
	}
	return &s, nil
}
