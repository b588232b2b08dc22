package client

import (
	"context"
	"errors"
	"time"
)

// Causes for which a lease is lost.
var (
	// ErrRevoked means that the authority was revoked.
	ErrRevoked error = lost("the authority was revoked")
	// ErrLeaseExpired means that no renewal succeeded in time, because the server could not be
	// reached or the process was paused.
	ErrLeaseExpired error = lost("the lease was not renewed in time")
	// ErrLeaseEnded means that the server does not know the lease any more.
	ErrLeaseEnded error = lost("the server ended the lease")
	// ErrReleased means that the lease was released by this process.
	ErrReleased error = lost("the lease was released")
)

// ErrDenied is wrapped by the error of an acquisition that the policy does not allow.
var ErrDenied = errors.New("client: denied")

// lost is the loss of a lease. It is also context.Canceled for errors.Is.
type lost string

func (l lost) Error() string { return "client: " + string(l) }

func (l lost) Is(target error) bool { return target == context.Canceled }

// leaseState is what a client knows of one lease. Its methods are functions of this state and the
// clock: docs/leases/client.txt has their scenarios. Times are those of the clock that counts
// suspended time.
type leaseState struct {
	ttl      time.Duration
	deadline time.Duration // the operation must have ended then
	limit    time.Duration // the end of the grace, if revoked
	revoked  bool
	cause    error // why it is lost; nil while it is held
}

// margin is the part of a TTL by which the client stops before the server ends the lease. It is
// for the time that an operation takes to stop, and for clocks of different rates.
func margin(ttl time.Duration) time.Duration { return ttl / 10 }

// granted begins the lease: the first request that asked for it was sent at that time.
func granted(sent, ttl time.Duration) leaseState {
	return leaseState{ttl: ttl, deadline: sent + ttl - margin(ttl)}
}

// renewed notes the answer "renewed" to a request that was sent at that time.
func (s *leaseState) renewed(sent time.Duration) {
	if s.cause == nil && !s.revoked {
		s.deadline = max(s.deadline, sent+s.ttl-margin(s.ttl))
	}
}

// renewedInGrace notes the answer "revoked", with the grace that is left, to a request that was
// sent at that time. The server moved its deadline at most to the end of the grace.
func (s *leaseState) renewedInGrace(sent, now, grace time.Duration) {
	s.revoke(now, grace)
	if s.cause == nil {
		s.deadline = max(s.deadline, sent+min(s.ttl, grace)-margin(s.ttl))
	}
}

// revoke notes that the authority is revoked, and the grace that is left.
func (s *leaseState) revoke(now, grace time.Duration) {
	s.revoked, s.limit = true, now+grace
	_ = s.check(now) // notes the loss
}

// end notes that the server does not know the lease any more.
func (s *leaseState) end(cause error) {
	if s.cause == nil {
		s.cause = cause
	}
}

// check returns nil if the operation may continue, and why it may not otherwise. A lease that is
// lost stays lost.
func (s *leaseState) check(now time.Duration) error {
	switch {
	case s.cause != nil:
	case s.revoked && now >= s.wake():
		s.cause = ErrRevoked
	case now >= s.deadline:
		s.cause = ErrLeaseExpired
	}
	return s.cause
}

// wake returns when check changes, if nothing else happens.
func (s *leaseState) wake() time.Duration {
	if s.revoked {
		return min(s.deadline, s.limit)
	}
	return s.deadline
}
