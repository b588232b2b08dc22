package devca_test

import (
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
)

func encode(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func TestLoadRejectsADamagedChain(t *testing.T) {
	root, _ := newAuthority(t)
	other, _ := newAuthority(t)
	_, dir := newIntermediate(t, root)
	path := filepath.Join(dir, devca.ChainFile)
	require.Equal(t, encode(root.Certificate()), readFile(t, path))
	for _, text := range [][]byte{
		encode(other.Certificate()),
		slices.Concat(encode(root.Certificate()), encode(root.Certificate())),
		[]byte("no PEM"),
		encode(parseLeaf(t, issueClient(t, root, devca.ClientOptions{SPIFFEID: alice}))),
	} {
		writeFile(t, path, text, 0o644)
		_, err := devca.Load(dir)
		require.ErrorIs(t, err, certs.ErrDamaged)
		require.ErrorContains(t, err, path)
	}
	_, err := devca.Init(dir, devca.Options{Force: true})
	require.NoError(t, err)
	require.NoFileExists(t, path, "a self-signed CA has no issuers")
}

// An intermediate CA that would overwrite another CA leaves all its files as they were.
func TestInitIntermediateOverwritesOnlyByForce(t *testing.T) {
	root, _ := newAuthority(t)
	_, dir := newAuthority(t)
	_, err := devca.Init(dir, devca.Options{Issuer: root, Lifetime: time.Hour})
	require.ErrorIs(t, err, fs.ErrExist)
	require.Equal(t, []string{devca.CertFile, devca.KeyFile}, listing(t, dir))
	_, err = devca.Init(dir, devca.Options{Issuer: root, Lifetime: time.Hour, Force: true})
	require.NoError(t, err)
	require.Equal(t, []string{devca.ChainFile, devca.CertFile, devca.KeyFile}, listing(t, dir))
}

func TestRenew(t *testing.T) {
	root, _ := newAuthority(t)
	before := parseLeaf(t, issueClient(t, root, devca.ClientOptions{SPIFFEID: alice, Lifetime: time.Hour}))
	pair, err := root.Renew(before, 0)
	require.NoError(t, err)
	after := parseLeaf(t, pair)
	require.Equal(t, before.URIs, after.URIs)
	require.Equal(t, before.ExtKeyUsage, after.ExtKeyUsage)
	require.Equal(t, time.Hour, after.NotAfter.Sub(after.NotBefore))
	require.NotEqual(t, before.PublicKey, after.PublicKey)
	require.NotEqual(t, before.SerialNumber, after.SerialNumber)
	pair, err = root.Renew(before, time.Minute)
	require.NoError(t, err)
	require.Equal(t, time.Minute, parseLeaf(t, pair).NotAfter.Sub(parseLeaf(t, pair).NotBefore))

	server, err := root.IssueServer(devca.ServerOptions{})
	require.NoError(t, err)
	pair, err = root.Renew(parseLeaf(t, server), 0)
	require.NoError(t, err)
	require.Equal(t, parseLeaf(t, server).DNSNames, parseLeaf(t, pair).DNSNames)
	require.Len(t, parseLeaf(t, pair).IPAddresses, 2)

	other, _ := newAuthority(t)
	for _, of := range []*x509.Certificate{
		parseLeaf(t, issueClient(t, other, devca.ClientOptions{SPIFFEID: alice})), root.Certificate(),
	} {
		_, err = root.Renew(of, 0)
		require.ErrorIs(t, err, devca.ErrName)
	}
	_, err = root.Renew(before, 31*24*time.Hour)
	require.ErrorIs(t, err, devca.ErrLifetime)
}
