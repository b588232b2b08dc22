package httpapi

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// lines is a log.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

// SECURITY, line 23.
func TestLimits_FailedConnectionsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := make(lines, 2*maxFailures)
		e := &errorLog{log: slog.New(slog.NewTextHandler(out, nil))}
		fail := func(n int) {
			for i := range n {
				fmt.Fprintf(e, "http: TLS handshake error from 192.0.2.1:%d: EOF\n", i)
			}
		}
		fail(1000)
		for range maxFailures {
			require.Contains(t, <-out, "msg=\"connection failed\"")
		}
		require.Empty(t, out)
		require.Contains(t, <-out, "msg=\"more connections failed\" count=990")
		fail(maxFailures)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(t, out, maxFailures, "no count of nothing")
	})
}
