package certs_test

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
)

func TestCredentialOf(t *testing.T) {
	chain := mint(t, uris(alice))
	got, err := certs.CredentialsOf(chain)
	require.NoError(t, err)
	spki := sha256.Sum256(issuer().RawSubjectPublicKeyInfo)
	require.Equal(t, []certs.Credential{
		{
			SHA256: sha256.Sum256(chain[0].Raw), Serial: "02", IssuerSPKI: spki,
			NotBefore: chain[0].NotBefore, NotAfter: chain[0].NotAfter,
		},
		{
			SHA256: sha256.Sum256(chain[1].Raw), Serial: "01", IssuerSPKI: spki, // its own
			NotBefore: chain[1].NotBefore, NotAfter: chain[1].NotAfter,
		},
	}, got)
}

func TestCredentialSerial(t *testing.T) {
	tests := map[string]*big.Int{
		"00":                               big.NewInt(0),
		"0a":                               big.NewInt(10),
		"01ff":                             big.NewInt(0x1ff),
		"ff000000000000000000000000000001": new(big.Int).SetBytes([]byte{0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}),
	}
	for want, serial := range tests {
		t.Run(want, func(t *testing.T) {
			chain := mint(t, uris(alice))
			leaf := *chain[0]
			leaf.SerialNumber = serial
			got, err := certs.CredentialsOf([]*x509.Certificate{&leaf, chain[1]})
			require.NoError(t, err)
			require.Equal(t, want, got[0].Serial)
		})
	}
}

func TestCredentialOfSelfSigned(t *testing.T) {
	template := mint(t, uris(alice), commonNames("self"))[0]
	der, err := x509.CreateCertificate(rand.Reader, template, template, testKey().Public(), testKey())
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	got, err := certs.CredentialsOf([]*x509.Certificate{leaf})
	require.NoError(t, err)
	require.Equal(t, sha256.Sum256(leaf.RawSubjectPublicKeyInfo), got[0].IssuerSPKI)
}

func TestCredentialOfRefuses(t *testing.T) {
	chain := mint(t, uris(alice))
	namesake := mint(t, uris(alice), func(c *x509.Certificate) { c.Subject = issuer().Subject })
	namesake[0].Signature[8] ^= 1 // the name of its issuer, but not its signature
	tests := map[string]struct {
		chain  []*x509.Certificate
		reason certs.Reason
	}{
		"none":           {nil, certs.ReasonNoCertificate},
		"nil leaf":       {[]*x509.Certificate{nil, issuer()}, certs.ReasonNoCertificate},
		"leaf alone":     {chain[:1], certs.ReasonIncompleteChain},
		"nil issuer":     {[]*x509.Certificate{chain[0], nil}, certs.ReasonIncompleteChain},
		"not its signer": {namesake[:1], certs.ReasonIncompleteChain},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := certs.CredentialsOf(test.chain)
			require.Zero(t, got)
			requireRefused(t, test.reason, certs.Identity{}, err)
		})
	}
}
