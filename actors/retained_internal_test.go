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
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// The messages of a principal whose turn does not end hold the tables of many revisions. These
// share what did not change.
func TestAStuckTurnKeepsWhatUpdatesChange(t *testing.T) {
	const roles, updates = 5_000, 300
	e := attackEngine(t, nil)
	before := inUse()
	var changes []policy.Change
	for i := range roles {
		changes = append(changes, policy.PutRole(attackRole(t, fmt.Sprintf("role-%d", i), fmt.Sprintf("area-%d:do", i)), ""))
	}
	change(t, e, changes...)
	table := inUse() - before

	started, finish, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- e.Execute(context.Background(), doing("do:a"), func(context.Context) error {
			close(started)
			<-finish
			return nil
		})
	}()
	<-started
	before = inUse()
	var receipts []<-chan Receipt
	for i := range updates {
		reached := e.Revision()
		receipts = append(receipts, background(e, Update{Changes: []policy.Change{
			policy.PutRole(attackRole(t, "a", fmt.Sprintf("do:%d", i)), ""),
		}}))
		require.Eventually(t, func() bool { return e.Revision() > reached }, 10*time.Second, 100*time.Microsecond)
	}
	kept := inUse() - before
	require.Less(t, kept, 2*table, "%d revisions of a table of %d bytes", updates, table)
	close(finish)
	require.NoError(t, <-ended)
	for _, r := range receipts {
		<-r
	}
}
