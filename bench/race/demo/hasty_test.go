package demo

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/bench/race"
)

// hasty is the guarded form, but for a revocation that returns before all is quiet.
type hasty struct{ *guarded }

func (h hasty) set(allowed bool) error {
	if allowed {
		return h.guarded.set(true)
	}
	time.AfterFunc(5*time.Millisecond, func() { _ = h.guarded.set(false) }) // as behind a queue
	return nil
}

// TestG2_HastyRevocationIsFoundWrong: that nothing is found in the guarded form is worth
// something only if a guard that acknowledges too early is found wrong.
func TestG2_HastyRevocationIsFoundWrong(t *testing.T) {
	g, err := newGuarded()
	require.NoError(t, err)
	server, err := start(Guarded, hasty{g}, t.TempDir(), "127.0.0.1:0")
	require.NoError(t, err)
	defer server.Close()
	// On a busy machine one run may be too short.
	for end := time.Now().Add(time.Minute); ; {
		report, err := race.Run(t.Context(), server.Target(), race.Options{Duration: time.Second})
		if err == nil && report.ByKind[race.StaleUse] > 0 {
			return
		}
		require.True(t, time.Now().Before(end), "nothing was found: %v, %v", report, err)
	}
}
