package workload

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBackoffGrowsToItsLimit(t *testing.T) {
	p := retrying{}.NewBackoff()
	for range 2 {
		var total time.Duration
		require.Equal(t, firstRetry, p.Next())
		for range 10 {
			total += p.Next()
		}
		require.Equal(t, lastRetry, p.Next())
		require.Less(t, total, 10*lastRetry)
		p.Reset()
	}
}
