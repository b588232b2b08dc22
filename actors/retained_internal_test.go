package actors

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
)

// inUse returns how many bytes of the heap are reachable.
func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the first may leave what finalizers and pools held
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// The messages of a principal whose turn does not end hold the tables of many revisions. These
// share what did not change.
func TestAStuckTurnKeepsWhatUpdatesChange(t *testing.T) {
	// A table of so many roles takes more than 1 MB.
	const roles, updates, limit = 5_000, 300, 30 << 20
	e := attackEngine(t, nil)
	var changes []policy.Change
	for i := range roles {
		changes = append(changes, policy.PutRole(attackRole(t, fmt.Sprintf("role-%d", i), fmt.Sprintf("area-%d:do", i)), ""))
	}
	change(t, e, changes...)
	started, finish, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- e.Execute(context.Background(), doing("do:a"), func(context.Context) error {
			close(started)
			<-finish
			return nil
		})
	}()
	<-started
	defer func() {
		close(finish)
		require.NoError(t, <-ended)
	}()
	before := inUse()
	for i := range updates {
		reached := e.Revision()
		background(e, Update{Changes: []policy.Change{policy.PutRole(attackRole(t, "a", fmt.Sprintf("do:%d", i)), "")}})
		require.Eventually(t, func() bool { return e.Revision() > reached }, 10*time.Second, 100*time.Microsecond)
	}
	require.Less(t, inUse()-before, int64(limit))
}
