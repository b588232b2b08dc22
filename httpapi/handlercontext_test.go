package httpapi

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

type handlerKey struct{}

// TestHandlerContextEndsWithEither: the context ends with the lease and as that does, with
// the client's, and with the handler, whether somebody waits for it before that or not.
func TestHandlerContextEndsWithEither(t *testing.T) {
	for name, end := range map[string]struct {
		do  func(lease, client func(), c *handlerContext)
		err error
	}{
		"lease":   {func(lease, _ func(), _ *handlerContext) { lease() }, context.Canceled},
		"client":  {func(_, client func(), _ *handlerContext) { client() }, context.Canceled},
		"handler": {func(_, _ func(), c *handlerContext) { c.end() }, context.Canceled},
	} {
		for _, waited := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					lease, endLease := context.WithCancel(context.WithValue(t.Context(), handlerKey{}, "lease"))
					client, endClient := context.WithCancel(t.Context())
					defer endLease()
					defer endClient()
					c := &handlerContext{lease: lease, client: client}
					defer c.end()
					require.NoError(t, c.Err())
					require.Equal(t, "lease", c.Value(handlerKey{}))
					if waited {
						select {
						case <-c.Done():
							t.Error("done before anything has ended")
						default:
						}
						require.NoError(t, c.Err())
						require.Equal(t, "lease", c.Value(handlerKey{}))
					}
					child, cancel := context.WithCancel(c)
					defer cancel()
					end.do(endLease, endClient, c)
					synctest.Wait()
					require.ErrorIs(t, c.Err(), end.err)
					<-c.Done()
					require.ErrorIs(t, child.Err(), end.err)
				})
			})
		}
	}
}

func TestHandlerContextKeepsTheClientsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c := &handlerContext{lease: t.Context(), client: client}
		defer c.end()
		want, _ := client.Deadline()
		got, ok := c.Deadline()
		require.True(t, ok)
		require.Equal(t, want, got)
		<-c.Done()
		require.ErrorIs(t, c.Err(), context.DeadlineExceeded)
	})
}
