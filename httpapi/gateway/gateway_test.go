package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/gateway"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// eachKind runs a test for each way to speak to an upstream, with a client of each version of HTTP.
func eachKind(t *testing.T, test func(t *testing.T, k kind, wire servertest.Wire)) {
	for name, k := range kinds {
		for _, wire := range servertest.Wires {
			t.Run(fmt.Sprintf("%s to %s", wire, name), func(t *testing.T) { test(t, k, wire) })
		}
	}
}

func TestGatewayForwards(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind, wire servertest.Wire) {
		s := newStation(t, k, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("X-From", "upstream")
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.RequestURI(), body)
		})
		alice := s.Issue("spiffe://interlock.test/alice")
		c := s.Client(wire, alice)
		for range 3 {
			got := s.Send(c, s.Request(http.MethodGet, "/files/1?q=a%20b", ""))
			require.Equal(t, http.StatusAccepted, got.StatusCode, got.Text)
			require.Equal(t, "GET /files/1?q=a%20b ", got.Text)
			require.Equal(t, "upstream", got.Header.Get("X-From"))
			body := strings.Repeat("x", 100_000)
			got = s.Send(c, s.Request(http.MethodPut, "/files/2", body))
			require.Equal(t, "PUT /files/2 "+body, got.Text)
		}
		s.Send(c, s.Request(http.MethodGet, "/files/3", "")).RequireProblem(t, 403, "denied")
		s.Send(c, s.Request(http.MethodGet, "/elsewhere", "")).RequireProblem(t, 404, "not-found")
		s.Send(c, s.Request(http.MethodPatch, "/files/1", "")).RequireProblem(t, 405, "method-not-allowed")
		s.Send(s.Client(wire), s.Request(http.MethodGet, "/files/1", "")).RequireProblem(t, 401, "no-identity")
		s.requireCounts(gateway.Counts{OK: 6, Refused: 4})
	})
}

var _ = gateway.HTTP1
