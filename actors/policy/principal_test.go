package policy_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
)

const kindBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"

// only reports whether s is one or more of the bytes.
func only(s, bytes string) bool { return s != "" && strings.Trim(s, bytes) == "" }

// principalOracle says what a principal is in other words than the parser.
func principalOracle(s string) bool {
	colon := strings.Index(s, ":")
	if colon < 0 || len(s) > 2048 || !utf8.ValidString(s) || !only(s[:colon], kindBytes) || colon == len(s)-1 {
		return false
	}
	for _, r := range s {
		switch {
		case r < 0x20, r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029, r == 0x61c:
			return false
		case r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return false
		}
	}
	if strings.ToLower(s[:colon]) == "spiffe" {
		return spiffeOracle(s)
	}
	return true
}

// spiffeOracle follows the SPIFFE ID specification, §2.
func spiffeOracle(s string) bool {
	rest, ok := strings.CutPrefix(s, "spiffe://")
	if !ok {
		return false
	}
	parts := strings.Split(rest, "/")
	if len(parts) < 2 || !only(parts[0], "abcdefghijklmnopqrstuvwxyz0123456789_.-") {
		return false
	}
	for _, p := range parts[1:] {
		if !only(p, kindBytes) || p == "." || p == ".." {
			return false
		}
	}
	return true
}

func TestEveryByteAtEveryPositionOfAPrincipal(t *testing.T) {
	for _, sample := range []string{"spiffe://a.test/ns/x", "spiffe://t-1_d/a.b/..c", "user:alice/b c", "u:é", "dns:a.example"} {
		require.True(t, principalOracle(sample))
		for at := range len(sample) {
			for b := range 256 {
				for _, s := range []string{
					sample[:at] + string([]byte{byte(b)}) + sample[at+1:],
					sample[:at] + string([]byte{byte(b)}) + sample[at:],
				} {
					p, err := policy.ParsePrincipal(s)
					require.Equal(t, principalOracle(s), err == nil, "%q: %v", s, err)
					require.Equal(t, err != nil, p.IsZero())
					if err == nil {
						require.Equal(t, s, p.String())
					} else {
						require.ErrorIs(t, err, policy.ErrMalformed)
					}
				}
			}
		}
	}
}

func TestPrincipalLimitsAndText(t *testing.T) {
	longest := "u:" + strings.Repeat("x", policy.MaxPrincipal-2)
	_, err := policy.ParsePrincipal(longest)
	require.NoError(t, err)
	_, err = policy.ParsePrincipal(longest + "x")
	require.ErrorIs(t, err, policy.ErrMalformed)

	var p policy.Principal
	require.True(t, p.IsZero())
	require.ErrorIs(t, p.UnmarshalText([]byte("nobody")), policy.ErrMalformed)
	require.NoError(t, p.UnmarshalText([]byte("user:alice")))
	text, err := p.MarshalText()
	require.NoError(t, err)
	require.Equal(t, "user:alice", string(text))
	require.Equal(t, policy.MustPrincipal("user:alice"), p)
	require.Panics(t, func() { policy.MustPrincipal("") })
}

func TestNamesOfRequests(t *testing.T) {
	for name, ok := range map[string]bool{
		"orders:read": true, "*": true, "a b": true, "é": true, "": false, "a\n": false, "\xff": false, "a\u202eb": false,
		strings.Repeat("x", policy.MaxAction): true, strings.Repeat("x", policy.MaxAction+1): false,
	} {
		require.Equal(t, ok, policy.CheckAction(name) == nil, name)
	}
	require.NoError(t, policy.CheckResource(strings.Repeat("x", policy.MaxResource)))
	require.ErrorIs(t, policy.CheckResource(strings.Repeat("x", policy.MaxResource+1)), policy.ErrMalformed)
}
