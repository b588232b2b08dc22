package leases

import (
	"sync"
	"time"

	"github.com/interlock-authz/interlock/actors"
)

// state is where a remote lease is in its life. It only moves forward: see docs/leases/server.txt.
type state uint8

const (
	acquiring state = iota // the engine has not answered
	live
	revoked // it has lost its authority; its client has not released it
	ended   // it was released or has expired, or was never admitted
)

// lease is a remote lease. mu decides between all that can end it.
type lease struct {
	id      id
	holder  *holder
	session *session
	ttl     time.Duration
	request actors.Request // of the principal, as the engine is asked
	size    int            // of the body, in bytes
	// ready is closed when the engine has answered. Then refused is the error of a lease that it
	// did not admit, and revision that of the decision.
	ready    chan struct{}
	refused  error
	revision uint64

	mu       sync.Mutex
	state    state
	admitted admission
	deadline time.Time   // it expires then
	timer    *time.Timer // rings at the deadline
	until    time.Time   // of a revoked lease: no renewal moves its deadline past that
}

// admission is what a remote lease stands on: the leases of the engine.
type admission struct {
	own    *actors.Lease // of the principal
	holder *actors.Lease // the holder's right to act for the principal; nil if it is the principal
	// credential is that of the holder.
	credential *actors.Credential
}

// release ends the leases of the engine.
func (a *admission) release(how string) {
	if a.own != nil {
		a.own.ReleaseAs(how)
	}
	if a.holder != nil {
		a.holder.ReleaseAs(how)
	}
}

// holds reports whether nothing that the lease stands on has lost its authority. The lease hears of
// a loss a moment later.
func (a *admission) holds() bool {
	return actors.HasAuthority(a.own.Context()) && (a.holder == nil || actors.HasAuthority(a.holder.Context()))
}

// admit puts the admission in place and starts the lease's time. It returns false if the lease
// has ended meanwhile.
func (l *lease) admit(a admission) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != acquiring {
		return false
	}
	l.state, l.admitted = live, a
	l.deadline = time.Now().Add(l.ttl)
	l.timer = time.AfterFunc(l.ttl, l.expire)
	return true
}

// watch makes the loss of the admission's authority revoke the lease.
func (l *lease) watch(a admission) {
	for _, e := range []*actors.Lease{a.own, a.holder} {
		if e == nil {
			continue
		}
		e.AfterRevoke(func(grace time.Duration) {
			l.revoke(a.own, grace)
			if grace > 0 { // a later update can shorten it
				e.AfterFunc(func() { l.revoke(a.own, 0) })
			}
		})
	}
}

// revoke notes that the authority is lost, unless the lease stands on another admission by now.
func (l *lease) revoke(own *actors.Lease, grace time.Duration) {
	l.mu.Lock()
	until := time.Now().Add(grace)
	first := l.state == live
	lost := l.admitted.own == own && (first || l.state == revoked && until.Before(l.until))
	if lost {
		l.state, l.until = revoked, until
	}
	l.mu.Unlock()
	if lost {
		if first {
			l.holder.server.counts.revoked.Add(1)
		}
		l.session.tell(l)
	}
}

// expire ends the lease if its time has passed.
func (l *lease) expire() {
	if l.end(actors.HowExpired) {
		l.session.tell(l)
	}
}

// end ends the lease. It returns false if the lease has ended already, or if it has not expired
// although its timer rang.
func (l *lease) end(how string) bool {
	l.mu.Lock()
	if l.state == ended {
		l.mu.Unlock()
		return false
	}
	if left := time.Until(l.deadline); how == actors.HowExpired && left > 0 {
		l.timer.Reset(left)
		l.mu.Unlock()
		return false
	}
	l.state = ended
	if l.timer != nil {
		l.timer.Stop()
	}
	admitted := l.admitted
	l.mu.Unlock()
	if admitted.own != nil {
		l.holder.server.counts.ended(how)
	}
	l.holder.forget(l)
	admitted.release(how)
	return true
}

// renew moves the deadline to the lease's TTL after a moment, and returns the state that the
// answer names, and the grace that is left.
func (l *lease) renew(received time.Time) (s state, grace time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.state != live && l.state != revoked || !now.Before(l.deadline) {
		return ended, 0
	}
	deadline := received.Add(l.ttl)
	if l.state == revoked && l.until.Before(deadline) {
		deadline = l.until
	}
	if deadline.After(l.deadline) {
		l.deadline = deadline
		l.timer.Reset(deadline.Sub(now)) // costs less than a timer that rings
	}
	if l.state == revoked {
		grace = max(l.until.Sub(now), 0)
	}
	return l.state, grace
}

// standsOn reports whether the credential is the one that the lease stands on. Connections of one
// certificate have credentials of their own.
func (l *lease) standsOn(c *actors.Credential) bool {
	l.mu.Lock()
	mine := l.admitted.credential
	l.mu.Unlock()
	if mine == c || mine == nil || c == nil {
		return mine == c
	}
	a, b := mine.IDs(), c.IDs()
	if len(a) != len(b) || !mine.NotAfter().Equal(c.NotAfter()) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// move puts another admission in the place of the old one. It returns false if the lease is not
// live any more, or is about to hear that the old one has lost its authority.
func (l *lease) move(a admission) bool {
	l.mu.Lock()
	if l.state != live || !l.admitted.holds() {
		l.mu.Unlock()
		return false
	}
	before := l.admitted
	l.admitted = a
	l.mu.Unlock()
	before.release(actors.HowReleased)
	return true
}

// isHeld reports whether the lease is live and nothing that it stands on has lost its authority.
func (l *lease) isHeld() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == live && l.admitted.holds()
}

// look returns the state, and the times until the lease expires and until its grace ends.
func (l *lease) look() (s state, remaining, grace time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	s, remaining = l.state, max(l.deadline.Sub(now), 0)
	if s == revoked {
		grace = max(l.until.Sub(now), 0)
	}
	return s, remaining, grace
}
