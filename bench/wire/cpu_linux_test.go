package wire

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The clock goes on with what the process does, and agrees with what the process itself is
// told.
func TestProcessTime(t *testing.T) {
	before, err := processTime(os.Getpid())
	require.NoError(t, err)
	for own := before; own < before+20*time.Millisecond; {
		var usage syscall.Rusage
		require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
		own = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	after, err := processTime(os.Getpid())
	require.NoError(t, err)
	require.Greater(t, after, before+15*time.Millisecond)

	_, err = processTime(1 << 23)
	require.Error(t, err, "no process has so high a number")
}
