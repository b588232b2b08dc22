package devca_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
)

func at(moment time.Time) func() time.Time { return func() time.Time { return moment } }

func TestInitAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	now := time.Date(2030, 1, 2, 3, 4, 5, 600, time.FixedZone("", 3600))
	authority, err := devca.Init(dir, devca.Options{Name: "ours", Now: at(now)})
	require.NoError(t, err)

	cert := authority.Certificate()
	require.Equal(t, "ours", cert.Subject.CommonName)
	require.True(t, cert.IsCA)
	require.Equal(t, 1, cert.MaxPathLen)
	require.Equal(t, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, cert.KeyUsage)
	require.Equal(t, elliptic.P256(), cert.PublicKey.(*ecdsa.PublicKey).Curve)
	require.Equal(t, now.UTC().Truncate(time.Second), cert.NotBefore)
	require.Equal(t, cert.NotBefore.Add(devca.DefaultLifetime), cert.NotAfter)
	require.Len(t, cert.SubjectKeyId, 20)
	require.Equal(t, cert.SubjectKeyId, cert.AuthorityKeyId)
	require.NoError(t, cert.CheckSignatureFrom(cert))
	require.Equal(t, []string{devca.CertFile, devca.KeyFile}, listing(t, dir))
	requireMode(t, dir, 0o700)
	requireMode(t, filepath.Join(dir, devca.KeyFile), 0o600)
	requireMode(t, filepath.Join(dir, devca.CertFile), 0o644)
}

func requireMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, want, info.Mode().Perm(), path)
}

func TestInitAuthorityLifetime(t *testing.T) {
	tests := map[string]struct {
		lifetime time.Duration
		good     bool
	}{
		"second":            {time.Second, true},
		"ten years":         {10 * devca.DefaultLifetime, true},
		"less than seconds": {999 * time.Millisecond, false},
		"negative":          {-time.Hour, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new")
			authority, err := devca.Init(dir, devca.Options{Lifetime: test.lifetime})
			if !test.good {
				require.ErrorIs(t, err, devca.ErrLifetime)
				require.NoDirExists(t, dir)
				return
			}
			require.NoError(t, err)
			cert := authority.Certificate()
			require.Equal(t, test.lifetime, cert.NotAfter.Sub(cert.NotBefore))
		})
	}
}

func TestInitAuthorityOverwritesOnlyByForce(t *testing.T) {
	first, dir := newAuthority(t)
	_, err := devca.Init(dir, devca.Options{})
	require.ErrorIs(t, err, fs.ErrExist)
	loaded, err := devca.Load(dir)
	require.NoError(t, err)
	require.Equal(t, first.Certificate().Raw, loaded.Certificate().Raw)

	second, err := devca.Init(dir, devca.Options{Force: true})
	require.NoError(t, err)
	loaded, err = devca.Load(dir)
	require.NoError(t, err)
	require.Equal(t, second.Certificate().Raw, loaded.Certificate().Raw)
	require.NotEqual(t, first.Certificate().Raw, second.Certificate().Raw)
}

// Whoever loads a CA issues what the one who made it can verify.
func TestLoadAuthorityIssues(t *testing.T) {
	made, dir := newAuthority(t)
	loaded, err := devca.Load(dir)
	require.NoError(t, err)
	leaf := parseLeaf(t, issueClient(t, loaded, devca.ClientOptions{SPIFFEID: alice}))
	requireVerifies(t, made, leaf, x509.ExtKeyUsageClientAuth)
}

func TestLoadAuthorityRefuses(t *testing.T) {
	tests := map[string]struct {
		spoil func(t *testing.T, cert, key string)
		want  error
	}{
		"no certificate": {func(t *testing.T, cert, _ string) { require.NoError(t, os.Remove(cert)) }, fs.ErrNotExist},
		"no key":         {func(t *testing.T, _, key string) { require.NoError(t, os.Remove(key)) }, fs.ErrNotExist},
		"readable key":   {func(t *testing.T, _, key string) { require.NoError(t, os.Chmod(key, 0o640)) }, certs.ErrPermissions},
		"another's key": {func(t *testing.T, _, key string) {
			_, other := newAuthority(t)
			writeFile(t, key, readFile(t, filepath.Join(other, devca.KeyFile)), 0o600)
		}, certs.ErrDamaged},
		"two certificates": {func(t *testing.T, cert, _ string) {
			writeFile(t, cert, append(readFile(t, cert), readFile(t, cert)...), 0o644)
		}, certs.ErrDamaged},
		"leaf": {func(t *testing.T, cert, key string) {
			authority, _ := newAuthority(t)
			pair := issueClient(t, authority, devca.ClientOptions{SPIFFEID: alice})
			writeFile(t, cert, pair.CertPEM, 0o644)
			writeFile(t, key, pair.KeyPEM, 0o600)
		}, certs.ErrDamaged},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, dir := newAuthority(t)
			test.spoil(t, filepath.Join(dir, devca.CertFile), filepath.Join(dir, devca.KeyFile))
			authority, err := devca.Load(dir)
			require.Nil(t, authority)
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, dir)
		})
	}
}
