package actors

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A release between the two steps of a cancellation leaves the context's error to it.
func TestAReleaseDuringACancellationKeepsItsCause(t *testing.T) {
	l := &Lease{parent: context.Background()}
	done := l.state()
	l.cause = ErrRevoked // the first step of cancel
	require.True(t, l.free(""))
	select {
	case <-done.ch:
		t.Fatal("the release has ended the context")
	default:
	}
	require.True(t, done.finish(ErrRevoked))
	require.Equal(t, ErrRevoked, done.err)
}

// TestAWalkVisitsEveryLease releases each lease while the walk visits it.
func TestAWalkVisitsEveryLease(t *testing.T) {
	e := attackEngine(t, nil)
	var p *principal
	const leases = 100
	for range leases {
		l, err := e.Admit(t.Context(), doing("do:a"))
		require.NoError(t, err)
		p = l.p
	}
	visited := 0
	p.walkLeases(func(l *Lease) { visited++; l.Release() })
	require.Equal(t, leases, visited)
}

// TestAFaultTellsThatAuthorityIsLost makes a turn fail while an operation runs.
func TestAFaultTellsThatAuthorityIsLost(t *testing.T) {
	e := attackEngine(t, nil)
	l, err := e.Admit(t.Context(), doing("do:a"))
	require.NoError(t, err)
	told := make(chan time.Duration, 1)
	l.AfterRevoke(func(grace time.Duration) { told <- grace })
	done := make(chan struct{})
	l.p.tell(&node{message: &inspect{look: func(*principal, moment) { panic("a fault of the engine") }, done: func() { close(done) }}})
	<-done
	require.Zero(t, <-told)
	l.Release()
}
