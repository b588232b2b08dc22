package admin_test

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// largePolicy is the policy of the admin tests, in lines, and n grants more.
func largePolicy(t testing.TB, n int, reason string) []byte {
	t.Helper()
	file := servertest.ReadPolicy(t, "admin-policy.yaml")
	roles := []string{"reader", "reads-more", "everyone", "base"}
	grants := func(yield func(policy.Grant) bool) {
		file.AllGrants()(yield)
		for i := range n {
			if !yield(policy.Grant{
				Principal: policy.MustPrincipal(fmt.Sprintf("spiffe://interlock.test/ns/%d/sa/service-%d", i%1000, i)),
				Role:      roles[i%len(roles)], Reason: reason,
			}) {
				return
			}
		}
	}
	var text bytes.Buffer
	require.NoError(t, policyfile.WriteLines(&text, 0, file.AllRoles(), iter.Seq[policy.Grant](grants)))
	return text.Bytes()
}

// BenchmarkPutPolicy replaces a small policy by a large one, in lines: each change is
// checked against the rights of its author.
func BenchmarkPutPolicy(b *testing.B) {
	for _, n := range []int{200_000, 1_000_000} {
		text := largePolicy(b, n, "")
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				b.StopTimer()
				s := newAdminStation(b)
				r := s.Request(http.MethodPut, "/v1/policy", string(text))
				r.Header.Set("Content-Type", policyfile.LinesMedia)
				r.Header.Set("If-Match", "*")
				c := s.As("admin")
				c.Timeout = time.Minute
				b.StartTimer()
				require.Equal(b, 200, s.send(c, r).StatusCode)
			}
		})
	}
}

func BenchmarkGetPolicy(b *testing.B) {
	const n = 1_000_000
	s := newAdminStation(b)
	require.Equal(b, 200, s.put("admin", policyfile.LinesMedia, string(largePolicy(b, n, "")), "If-Match", "*").StatusCode)
	for _, speaks := range servertest.Wires {
		c := s.Client(speaks, s.Issue("spiffe://interlock.test/admin"))
		b.Run(string(speaks), func(b *testing.B) {
			for b.Loop() {
				r := s.Request(http.MethodGet, "/v1/policy", "")
				r.Header.Set("Accept", policyfile.LinesMedia)
				got, err := c.Do(r)
				require.NoError(b, err)
				size, err := io.Copy(io.Discard, got.Body)
				require.NoError(b, err)
				b.SetBytes(size)
			}
		})
	}
}
