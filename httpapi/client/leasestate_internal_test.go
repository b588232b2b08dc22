package client

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/internal/scenario"
)

// TestLeaseState runs the scenarios of docs/leases/client.txt, which says what each line means.
func TestLeaseState(t *testing.T) {
	scenario.Run(t, "../../docs/leases/client.txt", func(t *testing.T, run scenario.Play) {
		var s leaseState
		run(t, func(words []string) string { return stepLease(t, &s, words) })
	})
}

var stateNames = map[error]string{nil: "held", ErrRevoked: "revoked", ErrLeaseExpired: "expired", ErrLeaseEnded: "ended", ErrReleased: "released"}

func stepLease(t *testing.T, s *leaseState, words []string) string {
	now := secondsIn(t, words[0])
	value := func(name string) time.Duration {
		for _, w := range words[2:] {
			if text, ok := strings.CutPrefix(w, name+"="); ok {
				return secondsIn(t, text)
			}
		}
		t.Fatalf("%v has no %s", words, name)
		return 0
	}
	if len(words) == 1 {
		return stateNames[s.check(now)]
	}
	switch words[1] {
	case "granted":
		*s = granted(value("sent"), value("ttl"))
	case "renewed":
		_ = s.check(now)
		s.renewed(value("sent"))
	case "in-grace":
		_ = s.check(now)
		s.renewedInGrace(value("sent"), now, value("grace"))
	case "revoked":
		s.revoke(now, value("grace"))
	case "ended":
		s.end(ErrLeaseEnded)
	case "released":
		s.end(ErrReleased)
	case "renews":
		return map[bool]string{true: "yes", false: "no"}[s.check(now) == nil]
	default:
		t.Fatalf("unknown event %v", words)
	}
	return ""
}

func secondsIn(t *testing.T, text string) time.Duration {
	n, err := strconv.ParseFloat(text, 64)
	require.NoError(t, err)
	return time.Duration(n * float64(time.Second))
}
