package policyfile_test

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

const million = 1_000_000

// manyRoles are a hundred roles, a tenth of which inherit another.
func manyRoles(t testing.TB) []*policy.Role {
	roles := make([]*policy.Role, 100)
	for i := range roles {
		spec := policy.RoleSpec{Permissions: []policy.PermissionSpec{policytest.Allow("orders:read orders:list", fmt.Sprintf("orders/%d/**", i))}}
		if i%10 == 9 {
			spec.Inherits = []string{fmt.Sprintf("role-%d", i-1)}
		}
		roles[i] = policytest.MustRole(t, fmt.Sprintf("role-%d", i), spec)
	}
	return roles
}

// manyGrants yields n grants as they come of an export: each to somebody else, some with
// limits, an expiry or a reason.
func manyGrants(t testing.TB, n int, reason string) iter.Seq[policy.Grant] {
	within := policytest.MustGrant(t, policytest.GrantOf("user:x", "r", "orders/eu/**", "orders/us/**")).Within
	return func(yield func(policy.Grant) bool) {
		for i := range n {
			g := policy.Grant{
				Principal: policy.MustPrincipal(fmt.Sprintf("spiffe://interlock.test/ns/%d/sa/service-%d", i%1000, i)),
				Role:      fmt.Sprintf("role-%d", i%100),
			}
			switch i % 10 {
			case 1:
				g.Within = within
			case 2:
				g.Expires = policytest.Instant("2030-01-01T00:00:00Z")
			case 3, 4:
				g.Reason = reason
			}
			if !yield(g) {
				return
			}
		}
	}
}

func manyLines(t testing.TB, n int, reason string) []byte {
	var text bytes.Buffer
	require.NoError(t, policyfile.WriteLines(&text, 7, slicesValues(manyRoles(t)), manyGrants(t, n, reason)))
	return text.Bytes()
}

func slicesValues[T any](s []T) iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, v := range s {
			if !yield(v) {
				return
			}
		}
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkReadAMillionLines tells how much memory the policy takes, too.
func BenchmarkReadAMillionLines(b *testing.B) {
	text := manyLines(b, million, "imported")
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	var file *policyfile.File
	before := heap()
	for b.Loop() {
		var err error
		file, err = policyfile.ReadLines("p.ndjson", bytes.NewReader(text))
		require.NoError(b, err)
	}
	b.ReportMetric(float64(heap()-before)/(1<<20), "heap-MB")
	require.Len(b, file.Grants, million)
	runtime.KeepAlive(text)
}

func BenchmarkWriteAMillionLines(b *testing.B) {
	file, err := policyfile.ReadLines("p.ndjson", bytes.NewReader(manyLines(b, million, "imported")))
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, policyfile.WriteLines(io.Discard, 7, file.AllRoles(), file.AllGrants()))
	}
}

// BenchmarkDiffOfAMillion compares policies that are the same, that differ in one grant of
// five, and that have nothing in common.
func BenchmarkDiffOfAMillion(b *testing.B) {
	read := func(text []byte) *policyfile.File {
		f, err := policyfile.ReadLines("p.ndjson", bytes.NewReader(text))
		require.NoError(b, err)
		return f
	}
	from, other := read(manyLines(b, million, "imported")), read(manyLines(b, million, "other"))
	for _, c := range []struct {
		name     string
		from, to *policyfile.File
		want     int
	}{
		{"same", from, from, 0},
		{"fifth", from, other, million / 5},
		{"first", &policyfile.File{Roles: from.Roles}, from, million},
		{"gone", from, &policyfile.File{Roles: from.Roles}, million},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				require.Len(b, policyfile.Diff(c.from.AllRoles(), c.from.AllGrants(), c.to), c.want)
			}
		})
	}
}
