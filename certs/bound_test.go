package certs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"math/big"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
)

// TestIdentity_CAsAreBoundToNames: a chain speaks only for names that the CA
// at its end may certify.
// SECURITY, line 3.
func TestIdentity_CAsAreBoundToNames(t *testing.T) {
	rules := []certs.Rule{certs.RuleDNS, certs.RuleEmail, certs.RuleURI, certs.RuleCN, certs.RuleSPKI}
	file := writeIssuer(t)
	for _, c := range []struct {
		name    string
		leaf    change
		binding certs.Binding
		bound   bool
	}{
		{"trust domain", uris("spiffe://a.example/alice"), certs.Binding{TrustDomains: []string{"a.example"}}, true},
		{"another trust domain", uris("spiffe://b.example/alice"), certs.Binding{TrustDomains: []string{"a.example"}}, false},
		{"a trust domain below it", uris("spiffe://x.a.example/alice"), certs.Binding{TrustDomains: []string{"a.example"}}, false},
		{"a trust domain is no name", dns("a.example"), certs.Binding{TrustDomains: []string{"a.example"}}, false},
		{"a name is no trust domain", uris("spiffe://a.example/alice"), certs.Binding{Names: []string{"a.example"}}, false},
		{"name", dns("a.example"), certs.Binding{Names: []string{"a.example"}}, true},
		{"a name below it", dns("x.a.example"), certs.Binding{Names: []string{"a.example"}}, true},
		{"a name that ends like it", dns("xa.example"), certs.Binding{Names: []string{"a.example"}}, false},
		{"the name above it", dns("example"), certs.Binding{Names: []string{"a.example"}}, false},
		{"mail", emails("alice@a.example"), certs.Binding{Names: []string{"a.example"}}, true},
		{"mail elsewhere", emails("a.example@b.example"), certs.Binding{Names: []string{"a.example"}}, false},
		{"a bound CA certifies no URI", uris("https://a.example/alice"), certs.Binding{Names: []string{"a.example"}}, false},
		{"a bound CA certifies no common name", commonNames("a.example"), certs.Binding{Names: []string{"a.example"}}, false},
		{"a key is its own", usage(x509.KeyUsageDigitalSignature), certs.Binding{Names: []string{"a.example"}}, true},
		{"everything", uris("spiffe://b.example/alice"), certs.Binding{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.binding.File = file
			a, err := certs.LoadTrustAnchors(c.binding)
			require.NoError(t, err)
			chain := mint(t, c.leaf)
			free, err := identifier(t, rules...).Identify(chain)
			require.NoError(t, err)
			got, err := identifier(t, rules...).Under(a).Identify(chain)
			if c.bound {
				require.NoError(t, err)
				require.Equal(t, free, got)
				return
			}
			var refused *certs.IdentityError
			require.True(t, errors.As(err, &refused), "%v", err)
			require.Equal(t, certs.ReasonNotBound, refused.Reason)
			require.Zero(t, got)
		})
	}
}

func writeIssuer(t *testing.T) string {
	_, dir := newAuthority(t)
	path := filepath.Join(dir, "issuer.crt")
	return writeFile(t, path, block("CERTIFICATE", issuer().Raw), 0o600)
}

// SECURITY, line 3.
func TestIdentity_ACAThatIsNotListedCertifiesNothing(t *testing.T) {
	_, dir := newAuthority(t)
	a, err := certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(dir, devca.CertFile)})
	require.NoError(t, err)
	_, err = identifier(t).Under(a).Identify(mint(t, uris("spiffe://a.example/alice")))
	require.ErrorIs(t, err, certs.ErrNoIdentity)
	require.ErrorContains(t, err, "not-bound")
}

// TestBindingsOfOneAuthorityAddUp: for rotation a file may be listed twice, and hold several.
func TestBindingsOfOneAuthorityAddUp(t *testing.T) {
	file := writeIssuer(t)
	a, err := certs.LoadTrustAnchors(
		certs.Binding{File: file, TrustDomains: []string{"a.example"}},
		certs.Binding{File: file, TrustDomains: []string{"b.example"}})
	require.NoError(t, err)
	require.Len(t, a.Issuers(), 1)
	id := identifier(t).Under(a)
	for _, name := range []string{"spiffe://a.example/alice", "spiffe://b.example/alice"} {
		got, err := id.Identify(mint(t, uris(name)))
		require.NoError(t, err)
		require.Equal(t, name, got.Name)
	}
	_, err = id.Identify(mint(t, uris("spiffe://c.example/alice")))
	require.ErrorContains(t, err, `may not certify "spiffe://c.example/alice"`)
}

func TestWrongBindings(t *testing.T) {
	_, err := certs.LoadTrustAnchors()
	require.ErrorIs(t, err, certs.ErrNoTrustAnchors)
	file := writeIssuer(t)
	for _, b := range []certs.Binding{
		{File: file, TrustDomains: []string{"spiffe://a.example"}}, {File: file, TrustDomains: []string{"A.example"}},
		{File: file, TrustDomains: []string{""}}, {File: file, Names: []string{"*.a.example"}}, {File: file, Names: []string{".a.example"}},
		{File: file, Names: []string{"A.example"}}, {File: file, Names: []string{""}},
	} {
		_, err := certs.LoadTrustAnchors(b)
		require.ErrorIs(t, err, certs.ErrBinding, "%v", b)
		require.ErrorContains(t, err, file)
	}
}

// TestMappedFingerprintsNeedNoBinding: the CA need not be bound to the mapped name, but a
// trust anchor must have issued the certificate.
func TestMappedFingerprintsNeedNoBinding(t *testing.T) {
	authority, dir := newAuthority(t)
	authorities, err := certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(dir, devca.CertFile), TrustDomains: []string{"a.example"}})
	require.NoError(t, err)
	leaf := parseLeaf(t, issueClient(t, authority, devca.ClientOptions{SPIFFEID: "spiffe://b.example/x"}))
	chain := []*x509.Certificate{leaf, authority.Certificate()}
	id := new(certs.Identifier).Under(authorities)
	got, err := id.Identify(chain)
	requireRefused(t, certs.ReasonNotBound, got, err)
	got, err = id.Mapping(map[[sha256.Size]byte]string{sha256.Sum256(leaf.Raw): "user:legacy"}).Identify(chain)
	require.NoError(t, err)
	require.Equal(t, "user:legacy", got.Name)
}

// TestIdentity_ABindingFollowsTheKey lists a bound CA and the unbound root above it. The bound CA comes with a renewed
// certificate of its key, which is not listed.
//
// SECURITY, line 32.
func TestIdentity_ABindingFollowsTheKey(t *testing.T) {
	ca, dir := newAuthority(t)
	a, err := certs.LoadTrustAnchors(
		certs.Binding{File: filepath.Join(dir, devca.CertFile)},
		certs.Binding{File: writeIssuer(t), TrustDomains: []string{"a.example"}})
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: ca.Certificate().Subject, IsCA: true, BasicConstraintsValid: true}
	again := *issuer()
	again.SerialNumber = big.NewInt(99)
	der, err := x509.CreateCertificate(rand.Reader, &again, root, issuer().PublicKey, key)
	require.NoError(t, err)
	renewed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	require.False(t, renewed.Equal(issuer()))

	identify := func(name string) error {
		_, err := identifier(t).Under(a).Identify([]*x509.Certificate{mint(t, uris(name))[0], renewed, ca.Certificate()})
		return err
	}
	require.NoError(t, identify("spiffe://a.example/alice"))
	err = identify("spiffe://b.example/alice")
	var refused *certs.IdentityError
	require.True(t, errors.As(err, &refused), "%v", err)
	require.Equal(t, certs.ReasonNotBound, refused.Reason)
	require.ErrorContains(t, err, "in the chain may not certify")
}
