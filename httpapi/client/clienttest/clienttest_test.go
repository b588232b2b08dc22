package clienttest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/client/clienttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var write = client.Evaluation{Action: client.Action{Name: "orders:write"}, Resource: client.Entity{Type: "orders", ID: "42"}}

// begin runs an operation that ends with its lease, and returns when it runs.
func begin(t *testing.T, c *client.Client) (ended <-chan error) {
	running, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- c.Execute(context.Background(), write, func(ctx context.Context, _ *client.Lease) error {
			close(running)
			<-ctx.Done()
			return context.Cause(ctx)
		})
	}()
	<-running
	return done
}

func TestAllowAndRevoke(t *testing.T) {
	s := clienttest.New(t)
	c := s.Client("user:batch")
	_, err := c.Acquire(t.Context(), write)
	require.ErrorIs(t, err, client.ErrDenied)
	s.Allow("user:batch", "orders:write", "orders/*")
	ended := begin(t, c)
	require.Equal(t, 1, s.Live())
	s.Revoke("user:batch")
	require.Zero(t, s.Live())
	require.ErrorIs(t, <-ended, client.ErrRevoked)
	_, err = c.Acquire(t.Context(), write)
	require.ErrorIs(t, err, client.ErrDenied)
}

func TestRevokeAfter(t *testing.T) {
	s := clienttest.New(t)
	s.Allow("user:batch", "orders:*", "orders/**")
	c := s.Client("user:batch")
	l, err := c.Acquire(t.Context(), write)
	require.NoError(t, err)
	go func() {
		<-l.Context().Done()
		l.Release()
	}()
	start := time.Now()
	s.RevokeAfter("user:batch", 300*time.Millisecond)
	require.ErrorIs(t, l.Check(), client.ErrRevoked)
	require.GreaterOrEqual(t, time.Since(start), 200*time.Millisecond)
}

func TestCutAndMend(t *testing.T) {
	s := clienttest.New(t)
	s.Allow("user:batch", "orders:write", "orders/*")
	c := s.Client("user:batch")
	ended := begin(t, c)
	s.Cut()
	require.ErrorIs(t, <-ended, client.ErrLeaseExpired)
	s.Mend()
	require.Eventually(t, func() bool { return s.Live() == 0 }, 5*time.Second, 10*time.Millisecond)
	l, err := c.Acquire(t.Context(), write)
	require.NoError(t, err)
	l.Release()
}
