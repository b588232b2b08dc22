package certs_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/interlock-authz/interlock/certs"
)

const (
	lower   = "abcdefghijklmnopqrstuvwxyz"
	digits  = "0123456789"
	letters = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + digits
)

// Every byte at every position: exactly the listed ones give an identity, and then the name is the text itself.
func TestIdentifyEveryByte(t *testing.T) {
	tests := map[string]struct {
		rule    certs.Rule
		tag     int
		text    string // ? marks the position
		allowed string
	}{
		"trust domain":   {certs.RuleURI, 6, "spiffe://a?b/path", lower + digits + "-._/"},
		"path":           {certs.RuleURI, 6, "spiffe://td/a?b", letters + "-._/"},
		"end of path":    {certs.RuleURI, 6, "spiffe://td/ab?", letters + "-._"},
		"inside a label": {certs.RuleDNS, 2, "a?b", lower + digits + "-_."},
		"first of label": {certs.RuleDNS, 2, "?ab", lower + digits + "_"},
		"mail local":     {certs.RuleEmail, 1, "a?b@example.org", letters + "!#$%&'+-=?^_`{|}~."},
		"mail host":      {certs.RuleEmail, 1, "a@b?c", lower + digits + "-_."},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			id := identifier(t, test.rule)
			for b := range 256 {
				text := strings.Replace(test.text, "?", string([]byte{byte(b)}), 1)
				requireName(t, id, test.tag, text, strings.Contains(test.allowed, string([]byte{byte(b)})))
			}
		})
	}
}

// requireName demands that a certificate with the name is identified by it if it is good, and else refused, by us or
// already by crypto/x509.
func requireName(t *testing.T, id *certs.Identifier, tag int, text string, good bool) {
	t.Helper()
	chain, err := tryMint(names(tag, text))
	var got certs.Identity
	if err == nil {
		got, err = id.Identify(chain)
	}
	if !good {
		require.Error(t, err, "%q", text)
		require.Zero(t, got)
		return
	}
	require.NoError(t, err, "%q", text)
	require.Equal(t, text, bare(got), "%q", text)
}

// Whatever stands in a certificate, two that give the same identity have the same text.
func TestIdentifyIsInjective(t *testing.T) {
	risky := rapid.StringOfN(rapid.RuneFrom([]rune("aA.-_%2eF/#?@:")), 1, 12, -1)
	id := identifier(t, certs.RuleURI)
	rapid.Check(t, func(t *rapid.T) {
		text := fmt.Sprintf("%s://%s", rapid.SampledFrom([]string{"spiffe", "Spiffe", "https"}).Draw(t, "scheme"),
			risky.Draw(t, "rest"))
		chain, err := tryMint(uris(text))
		if err != nil {
			return
		}
		got, err := id.Identify(chain)
		if err != nil {
			return
		}
		if got.Name != text && got.Name != "uri:"+text {
			t.Fatalf("%q became %q", text, got.Name)
		}
	})
}

// bare gives the text that an identity was made of: a SPIFFE ID has its prefix already.
func bare(id certs.Identity) string {
	if id.Rule == certs.RuleSPIFFE {
		return id.Name
	}
	return strings.TrimPrefix(id.Name, string(id.Rule)+":")
}
