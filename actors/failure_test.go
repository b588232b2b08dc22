package actors_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
)

// A log that fails ends updates. Who is active goes on, everybody else is denied, and who
// waits for a delivery that never comes is told.
func TestG6_AfterTheLogHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newGatedLog(t, writerRole(t))
		e := newEngine(t, actors.Options{Log: log, IdleAfter: time.Minute})
		grant(t, e, alice, "writer")
		grant(t, e, bob, "writer")
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
		log.hold()
		unknown, waiting := make(chan error, 1), make(chan error, 1)
		go func() { _, err := e.Update(t.Context(), revoke(bob, "writer")); unknown <- err }()
		synctest.Wait()
		go func() { waiting <- e.Execute(t.Context(), writeAs(bob), nothing) }() // its record is ahead
		synctest.Wait()
		require.NoError(t, e.Failure())

		cause := errors.New("the disk is gone")
		log.mu.Lock()
		log.fault, log.refuse = cause, oplog.ErrUnavailable
		lost := log.held[0]
		lost[0] = oplog.Outcome{ID: lost[0].ID, Err: oplog.ErrOutcomeUnknown}
		log.events.Deliver(lost)
		log.events.Failed(cause)
		log.mu.Unlock()

		require.ErrorIs(t, <-unknown, oplog.ErrOutcomeUnknown)
		require.ErrorIs(t, <-waiting, actors.ErrFault)
		require.ErrorIs(t, e.Failure(), cause)
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
		require.ErrorIs(t, e.Execute(t.Context(), writeAs(bob), nothing), actors.ErrFault)
		_, err := e.Update(t.Context(), revoke(alice, "writer"))
		require.ErrorIs(t, err, oplog.ErrUnavailable)

		time.Sleep(time.Hour) // idle, and not passivated: she could not come back
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
	})
}
