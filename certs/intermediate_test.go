package certs_test

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
)

// under makes an intermediate CA.
func under(t *testing.T, above *devca.CA) (*devca.CA, string) {
	t.Helper()
	dir := t.TempDir()
	made, err := devca.Init(dir, devca.Options{Issuer: above, Lifetime: 24 * time.Hour})
	require.NoError(t, err)
	authorities, err := certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(dir, devca.CertFile)})
	require.NoError(t, err)
	require.Len(t, authorities.Certificates(), 1, "trust in it is no trust in the CAs above it")
	return made, dir
}

func parseAll(t *testing.T, pair devca.KeyPair) []*x509.Certificate {
	t.Helper()
	chain, err := certs.ParseCertificates("x", pair.CertPEM)
	require.NoError(t, err)
	return chain
}

func TestIntermediateAuthority(t *testing.T) {
	root, _ := newAuthority(t)
	middle, _ := under(t, root)
	require.True(t, middle.Certificate().MaxPathLenZero)
	chain := parseAll(t, issueClient(t, middle, devca.ClientOptions{SPIFFEID: alice, Lifetime: time.Hour}))
	require.Len(t, chain, 2, "the leaf, and what a verifier does not have")
	intermediates := x509.NewCertPool()
	intermediates.AddCert(chain[1])
	verified, err := chain[0].Verify(x509.VerifyOptions{
		Roots: root.Pool(), Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	require.NoError(t, err)
	got, err := new(certs.Identifier).Identify(verified[0])
	require.NoError(t, err)
	require.Equal(t, alice, got.Name)

	_, err = devca.Init(t.TempDir(), devca.Options{Issuer: middle, Lifetime: time.Hour})
	require.ErrorIs(t, err, devca.ErrName, "it certifies no further CA")
	_, err = devca.Init(t.TempDir(), devca.Options{Issuer: root, Lifetime: 1000 * 24 * time.Hour})
	require.ErrorIs(t, err, devca.ErrLifetime, "it ends before the one above it")
}

func encode(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// TestCRLOfAnIntermediateCA: the CRL of an intermediate CA is verified by the
// certificates next to it.
func TestCRLOfAnIntermediateCA(t *testing.T) {
	root, rootDir := newAuthority(t)
	middle, _ := under(t, root)
	chain := parseAll(t, issueClient(t, middle, devca.ClientOptions{SPIFFEID: alice, Lifetime: time.Hour}))
	text, err := middle.Revoke(nil, time.Hour, chain[0])
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "ca.crl")
	writeFile(t, path, text, 0o644)
	authorities, err := certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(rootDir, devca.CertFile)})
	require.NoError(t, err)
	lists, err := certs.LoadCRLs(authorities, nil, path)
	require.NoError(t, err)
	all, err := certs.CredentialsOf(append(chain, root.Certificate()))
	require.NoError(t, err)
	issuer := hex.EncodeToString(all[0].IssuerSPKI[:])
	require.True(t, lists.Revoked(issuer, all[0].Serial))
	require.False(t, lists.Revoked(issuer, "1234"))
	require.Equal(t, []string{issuer}, lists.Issuers())

	next, err := middle.Revoke(text, time.Hour)
	require.NoError(t, err, "it reads its own CRL and the certificate in the same file")
	require.NotEqual(t, text, next)
	writeFile(t, path, next, 0o644)
	newer, err := certs.LoadCRLs(authorities, lists, path)
	require.NoError(t, err)
	require.True(t, newer.Revoked(issuer, all[0].Serial))
	require.NotEqual(t, lists.Sum(), newer.Sum())

	alone, _ := pem.Decode(text)
	writeFile(t, path, pem.EncodeToMemory(alone), 0o644)
	_, err = certs.LoadCRLs(authorities, nil, path)
	require.ErrorContains(t, err, "not signed by a CA of clients")

	stranger, strangerDir := newAuthority(t)
	require.NotNil(t, stranger)
	others, err := certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(strangerDir, devca.CertFile)})
	require.NoError(t, err)
	writeFile(t, path, text, 0o644)
	_, err = certs.LoadCRLs(others, nil, path)
	require.ErrorIs(t, err, certs.ErrCRL)
	require.ErrorContains(t, err, "not under a CA of clients")
	kept, err := certs.LoadCRLs(others, lists)
	require.NoError(t, err, "a CA that no trusted CA has issued may lose its CRL")
	require.Empty(t, kept.Issuers())
	require.True(t, kept.Revoked(issuer, all[0].Serial))
	_, err = certs.LoadCRLs(authorities, kept)
	require.ErrorContains(t, err, "no file holds the CRL", "but not once it certifies again")
	_, err = certs.LoadCRLs(others, lists, path)
	require.NoError(t, err, "and it may stay")
	_, err = certs.LoadCRLs(authorities, lists)
	require.ErrorContains(t, err, "no file holds the CRL")
}

// TestFoldersOfFiles: a folder stands for what is in it.
func TestFoldersOfFiles(t *testing.T) {
	one, oneDir := newAuthority(t)
	two, twoDir := newAuthority(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a.crt"), readFile(t, filepath.Join(oneDir, devca.CertFile)), 0o644)
	writeFile(t, filepath.Join(dir, "b.pem"), readFile(t, filepath.Join(twoDir, devca.CertFile)), 0o644)
	for _, other := range []string{"README", "old.crt~", ".hidden.crt"} {
		writeFile(t, filepath.Join(dir, other), []byte("no certificate"), 0o644)
	}
	authorities, err := certs.LoadTrustAnchors(certs.Binding{File: dir})
	require.NoError(t, err)
	require.Len(t, authorities.Issuers(), 2)

	lists := t.TempDir()
	_, err = certs.LoadCRLs(authorities, nil, lists)
	require.ErrorContains(t, err, "is a folder without a file whose name ends in .crl or .pem")
	for name, authority := range map[string]*devca.CA{"one.crl": one, "two.crl": two} {
		text, err := authority.Revoke(nil, time.Hour)
		require.NoError(t, err)
		writeFile(t, filepath.Join(lists, name), text, 0o644)
	}
	read, err := certs.LoadCRLs(authorities, nil, lists)
	require.NoError(t, err)
	require.Len(t, read.Issuers(), 2)

	writeFile(t, filepath.Join(dir, "b.pem"), []byte("no certificate"), 0o644)
	_, err = certs.LoadTrustAnchors(certs.Binding{File: dir})
	require.ErrorContains(t, err, "b.pem", "one that is damaged refuses the whole")
	require.NoError(t, os.RemoveAll(dir))
	_, err = certs.LoadTrustAnchors(certs.Binding{File: dir})
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestCRLWithACertificateThatCannotSignIt: LoadCRLs accepts only CA certificates, issued by a trust anchor, after a CRL.
func TestCRLWithACertificateThatCannotSignIt(t *testing.T) {
	root, rootDir := newAuthority(t)
	authorities, err := certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(rootDir, devca.CertFile)})
	require.NoError(t, err)
	text, err := root.Revoke(nil, time.Hour)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "ca.crl")
	leaf := parseLeaf(t, issueClient(t, root, devca.ClientOptions{SPIFFEID: alice}))
	writeFile(t, path, slices.Concat(text, encode(leaf)), 0o644)
	_, err = certs.LoadCRLs(authorities, nil, path)
	require.ErrorIs(t, err, certs.ErrDamaged)
	writeFile(t, path, encode(root.Certificate()), 0o644)
	_, err = certs.LoadCRLs(authorities, nil, path)
	require.ErrorContains(t, err, "holds certificates alone")
}

// TestCRLs_ACRLNeverTakesBack: not with the same number, and not through a withdrawal of
// its CA.
// SECURITY, line 8.
func TestCRLs_ACRLNeverTakesBack(t *testing.T) {
	s := newListStage(t)
	s.write(5, 1, 2)
	before, err := s.load(nil)
	require.NoError(t, err)
	s.write(5, 1)
	_, err = s.load(before)
	require.ErrorIs(t, err, certs.ErrCRL)
	require.ErrorContains(t, err, "revokes less")
	s.write(5, 1, 2, 3)
	_, err = s.load(before)
	require.NoError(t, err)

	_, otherDir := newAuthority(t)
	others, err := certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(otherDir, devca.CertFile)})
	require.NoError(t, err)
	for _, paths := range [][]string{nil, {s.path}} { // its file is gone, or is there
		away, err := certs.LoadCRLs(others, before, paths...)
		require.NoError(t, err, "it does not hold up the CRLs of others")
		require.Empty(t, away.Issuers())
		s.write(3)
		_, err = s.load(away)
		require.ErrorContains(t, err, "has number 3", "when it certifies again")
		s.write(5, 1, 2, 3)
	}
}
