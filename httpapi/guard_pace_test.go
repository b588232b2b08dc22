package httpapi_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// pace is the timeout of an impatient server: long enough for a handshake and a header on a busy
// machine.
const pace = time.Second

// impatient starts the server with timeouts that a stream outlives.
func impatient(t *testing.T) *guardStation {
	s := newGuardStation(t)
	s.serve(s.router, func(o *httpapi.ServerOptions) {
		o.ReadTimeout, o.WriteTimeout = pace, pace
	})
	return s
}

// TestAStreamOutlivesTheWriteTimeout: in Admit mode, also while it is silent for longer.
func TestAStreamOutlivesTheWriteTimeout(t *testing.T) {
	t.Parallel()
	s := impatient(t)
	s.protect("stream", httpapi.Rule{Action: "orders:read"}, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		for range 2 {
			select {
			case <-r.Context().Done():
				t.Error(r.Context().Err())
				return
			case <-time.After(pace + pace/2):
			}
			_, _ = io.WriteString(w, "line\n")
			_ = rc.Flush()
		}
	})
	for _, speaks := range servertest.Wires {
		t.Run(string(speaks), func(t *testing.T) {
			got := s.Send(s.Client(speaks, s.Issue("spiffe://interlock.test/alice")), s.Request(http.MethodGet, "/stream/1", ""))
			require.Equal(t, 200, got.StatusCode)
			require.Equal(t, "line\nline", got.Text)
		})
	}
}

// TestAStalledWriteEndsByTheWriteTimeout: its client does not read.
func TestAStalledWriteEndsByTheWriteTimeout(t *testing.T) {
	t.Parallel()
	s := impatient(t)
	for _, copies := range []bool{false, true} {
		h := newFlood()
		h.copies = copies
		kind := "write"
		if copies {
			kind = "copy"
		}
		s.protect(kind, httpapi.Rule{Action: "orders:read"}, h.ServeHTTP)
		for _, speaks := range servertest.Wires {
			t.Run(kind+" "+string(speaks), func(t *testing.T) {
				c, stalled := s.stallingClient(speaks, "alice")
				defer c.CloseIdleConnections()
				answer, err := c.Do(s.Request(http.MethodGet, "/"+kind+"/1", ""))
				require.NoError(t, err)
				require.Error(t, await(t, h.ended))
				if conn := stalled.Load(); conn != nil {
					require.NoError(t, conn.Close())
				}
				_ = answer.Body.Close()
			})
		}
	}
}
