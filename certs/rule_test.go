package certs_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
)

func TestNewIdentifierTakes(t *testing.T) {
	tests := map[string][]certs.Rule{
		"none":             nil,
		"spiffe, named":    {certs.RuleSPIFFE},
		"spiffe and dns":   {certs.RuleSPIFFE, certs.RuleDNS},
		"one rule":         {certs.RuleCN},
		"all in any order": {certs.RuleCN, certs.RuleURI, certs.RuleDNS, certs.RuleEmail, certs.RuleSPKI, certs.RuleSHA256},
	}
	for name, rules := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := certs.NewIdentifier(rules...)
			require.NoError(t, err)
		})
	}
}

func TestNewIdentifierRefuses(t *testing.T) {
	tests := map[string]struct {
		rules []certs.Rule
		named certs.Rule
	}{
		"unknown":          {[]certs.Rule{certs.RuleDNS, "ip"}, "ip"},
		"empty":            {[]certs.Rule{""}, ""},
		"upper case":       {[]certs.Rule{"DNS"}, "DNS"},
		"twice":            {[]certs.Rule{certs.RuleDNS, certs.RuleCN, certs.RuleDNS}, certs.RuleDNS},
		"spiffe not first": {[]certs.Rule{certs.RuleDNS, certs.RuleSPIFFE}, certs.RuleSPIFFE},
		"spiffe twice":     {[]certs.Rule{certs.RuleSPIFFE, certs.RuleSPIFFE}, certs.RuleSPIFFE},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			id, err := certs.NewIdentifier(test.rules...)
			require.Nil(t, id)
			require.ErrorIs(t, err, certs.ErrRule)
			var refused *certs.RuleError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, test.named, refused.Rule)
		})
	}
}

func TestIdentifierKeepsItsRules(t *testing.T) {
	rules := []certs.Rule{certs.RuleDNS}
	id := identifier(t, rules...)
	rules[0] = certs.RuleCN
	got, err := id.Identify(mint(t, dns("alice.example"), commonNames("bob")))
	require.NoError(t, err)
	require.Equal(t, "dns:alice.example", got.Name)
}
