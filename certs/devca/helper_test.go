package devca_test

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
)

const alice = "spiffe://example.org/alice"

func newAuthority(t testing.TB) (*devca.CA, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	ca, err := devca.Init(dir, devca.Options{})
	require.NoError(t, err)
	return ca, dir
}

// newIntermediate makes a CA that another one certifies.
func newIntermediate(t testing.TB, issuer *devca.CA) (*devca.CA, string) {
	t.Helper()
	dir := t.TempDir()
	ca, err := devca.Init(dir, devca.Options{Issuer: issuer, Lifetime: 24 * time.Hour})
	require.NoError(t, err)
	return ca, dir
}

func issueClient(t testing.TB, ca *devca.CA, opts devca.ClientOptions) devca.KeyPair {
	t.Helper()
	pair, err := ca.IssueClient(opts)
	require.NoError(t, err)
	return pair
}

// parseLeaf returns the one certificate of the pair.
func parseLeaf(t testing.TB, pair devca.KeyPair) *x509.Certificate {
	t.Helper()
	parsed, err := certs.ParseCertificates("leaf", pair.CertPEM)
	require.NoError(t, err)
	require.Len(t, parsed, 1)
	return parsed[0]
}

// listing returns the names in a folder, none if the folder does not exist.
func listing(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	found := []string{}
	for _, entry := range entries {
		found = append(found, entry.Name())
	}
	return found
}

func writeFile(t testing.TB, path string, data []byte, mode os.FileMode) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path, data, mode))
	require.NoError(t, os.Chmod(path, mode))
	return path
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

func newIdentifier(t testing.TB, rules ...certs.Rule) *certs.Identifier {
	t.Helper()
	id, err := certs.NewIdentifier(rules...)
	require.NoError(t, err)
	return id
}
