package actors

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// A release between the two steps of a cancellation leaves the context's error to it.
func TestAReleaseDuringACancellationKeepsItsCause(t *testing.T) {
	l := &Lease{parent: context.Background()}
	done := l.state()
	l.cause = ErrRevoked // the first step of cancel
	require.True(t, l.free())
	select {
	case <-done.ch:
		t.Fatal("the release has ended the context")
	default:
	}
	require.True(t, done.finish(ErrRevoked))
	require.Equal(t, ErrRevoked, done.err)
}
