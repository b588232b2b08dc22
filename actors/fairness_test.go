package actors_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// longest keeps the longest of some waits. It is safe for concurrent use.
type longest struct {
	mu   sync.Mutex
	wait time.Duration
}

func (l *longest) since(start time.Time) {
	wait := time.Since(start)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wait = max(l.wait, wait)
}

// With 256 callers of one principal, a request waits for the requests before it, and an update
// for the function that runs. In a bubble, time passes only in the functions.
func TestFairness_LongestWaitWithManyCallers(t *testing.T) {
	const (
		callers = 256
		work    = 100 * time.Microsecond
	)
	synctest.Test(t, func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		ctx, stop := context.WithCancel(t.Context())
		var requests, updates longest
		var calling sync.WaitGroup
		for range callers {
			calling.Go(func() {
				for ctx.Err() == nil {
					start := time.Now()
					require.NoError(t, e.Execute(t.Context(), writeAs(alice), func(context.Context) error {
						requests.since(start)
						time.Sleep(work)
						return nil
					}))
				}
			})
		}
		for i := range 1000 {
			time.Sleep(7 * work)
			start := time.Now()
			_, err := e.Update(t.Context(), actors.Update{Changes: []policy.Change{
				policy.GrantRole(policy.Grant{Principal: alice, Role: "writer", Reason: fmt.Sprint(i)}),
			}})
			require.NoError(t, err)
			updates.since(start)
		}
		stop()
		calling.Wait()
		t.Logf("longest wait of a request %v, of an update %v", requests.wait, updates.wait)
		require.LessOrEqual(t, requests.wait, (callers+20)*work, "posters overtake for a millisecond at most")
		require.LessOrEqual(t, updates.wait, work)
	})
}
