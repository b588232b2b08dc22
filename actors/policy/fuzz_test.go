package policy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
)

func FuzzPolicyPrincipal(f *testing.F) {
	for _, s := range []string{
		"spiffe://interlock.test/alice", "user:alice", "user:", ":x", "spiffe://td", "SPIFFE://td/x",
		"spiffe://td/a/../b", "dns:a.example", "user:a\x00", "user:\u202e", "user:ü", "user:\xff",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := policy.ParsePrincipal(s)
		if (err == nil) != principalOracle(s) {
			t.Fatalf("%q: %v", s, err)
		}
		if err != nil {
			if !errors.Is(err, policy.ErrMalformed) || !p.IsZero() {
				t.Fatalf("%q: %v, %v", s, p, err)
			}
			return
		}
		again, err := policy.ParsePrincipal(p.String())
		if err != nil || again != p || p.String() != s {
			t.Fatalf("%q became %q: %v", s, p, err)
		}
	})
}

func FuzzPolicyPattern(f *testing.F) {
	f.Add("orders:*", "orders:read")
	f.Add("orders/**", "orders")
	f.Add("interlock:**", "interlock:grant")
	f.Add("spiffe://td/ns/*/sa/*", "spiffe://td/ns/a/sa/b")
	f.Add("user:**/x", "user:a")
	f.Add("*/**", "a/b/c")
	f.Add("user:*", "user:a")
	f.Add("s3:Get*", "s3:GetObject")
	f.Add("orders/eu-*", "orders/eu-")
	f.Add("orders/eu-*/**", "orders/eu-1//x")
	f.Add("orders/*/..", "orders/../..")
	f.Add("inter*:*", "interlock:grant")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if a, err := policy.ParseActionPattern(pattern); err == nil {
			if want := actionOracle(pattern, name); a.Matches(name) != want {
				t.Fatalf("action pattern %q on %q: want %v", pattern, name, want)
			}
		} else if !errors.Is(err, policy.ErrMalformed) {
			t.Fatal(err)
		}
		if r, err := policy.ParseResourcePattern(pattern); err == nil {
			if want := resourceOracle(policy.Allow, pattern, name); r.Matches(name) != want {
				t.Fatalf("resource pattern %q on %q: want %v", pattern, name, want)
			}
			if want := resourceOracle(policy.Deny, pattern, name); r.MatchesDeny(name) != want {
				t.Fatalf("resource pattern %q of a deny on %q: want %v", pattern, name, want)
			}
			if !r.Covers(r) || !r.Overlaps(r) {
				t.Fatalf("%q does not cover itself", pattern)
			}
			if n, err := policy.ParseResourcePattern(name); err == nil && r.Covers(n) && !r.Overlaps(n) {
				t.Fatalf("%q covers %q and does not overlap it", pattern, name)
			}
		}
		checkPrincipalPattern(t, pattern, name)
	})
}

// checkPrincipalPattern compares a pattern with the oracle, by itself and in a table.
func checkPrincipalPattern(t *testing.T, pattern, name string) {
	p, err := policy.ParsePrincipalPattern(pattern)
	if err != nil {
		return
	}
	who, err := policy.ParsePrincipal(name)
	if err != nil {
		return
	}
	pk, pn, _ := strings.Cut(pattern, ":")
	k, n, _ := strings.Cut(name, ":")
	want := pk == k && matchOracle(pn, n, "/")
	table, err := policy.NewTable(1, []*policy.Role{policytest.MustRole(t, "r", policy.RoleSpec{})}, policy.NewPatternGrants([]policy.Grant{{Principals: p, Role: "r"}}))
	if err != nil {
		t.Fatal(err)
	}
	found := len(slices.Collect(table.Patterns().Matching(who))) > 0
	if p.Matches(who) != want || found != want {
		t.Fatalf("principal pattern %q on %q: want %v", pattern, name, want)
	}
}
