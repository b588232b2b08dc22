package serve

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

// SECURITY, line 26.
func TestOpenFilesAreDivided(t *testing.T) {
	_, err := divideFiles(leastOpenFiles-1, 1)
	require.ErrorContains(t, err, "may open 199 files; it needs at least 200")
	for _, limit := range []uint64{200, 256, 1024, 4096, 65536, 1 << 20, 1 << 63} {
		for listeners := 1; listeners <= 3; listeners++ {
			f, err := divideFiles(limit, listeners)
			require.NoError(t, err)
			used := otherFiles + storeReserve + f.store + f.administrators + f.operators + f.callers*listeners
			require.LessOrEqual(t, uint64(used), limit, "%+v", f)
			require.GreaterOrEqual(t, f.callers, 8)
			require.GreaterOrEqual(t, f.administrators, 8)
			require.GreaterOrEqual(t, f.store, minStoreFiles)
		}
	}
	f, err := divideFiles(1<<20, 2)
	require.NoError(t, err)
	require.Equal(t, 16384, f.connections(callers, 16384, slog.New(slog.DiscardHandler)))
	f, err = divideFiles(1024, 1)
	require.NoError(t, err)
	require.Equal(t, f.callers, f.connections(callers, 16384, slog.New(slog.DiscardHandler)))
	require.Equal(t, f.administrators, f.connections(administrators, 16384, slog.New(slog.DiscardHandler)))
}
