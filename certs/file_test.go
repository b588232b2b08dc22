package certs_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
)

// pairOnDisk writes a good pair and gives the paths of its certificate and its key.
func pairOnDisk(t testing.TB) (cert, key string) {
	t.Helper()
	authority, dir := newAuthority(t)
	require.NoError(t, issueClient(t, authority, devca.ClientOptions{SPIFFEID: alice}).Write(dir, "alice", false))
	return filepath.Join(dir, "alice.crt"), filepath.Join(dir, "alice.key")
}

func TestLoadKeyPairByMode(t *testing.T) {
	tests := map[fs.FileMode]bool{
		0o600: true, 0o400: true,
		0o640: false, 0o604: false, 0o620: false, 0o700: false, 0o644: false, 0o601: false,
	}
	for mode, good := range tests {
		t.Run(fmt.Sprintf("%04o", mode), func(t *testing.T) {
			cert, key := pairOnDisk(t)
			require.NoError(t, os.Chmod(key, mode))
			_, err := certs.LoadKeyPair(cert, key)
			if good {
				require.NoError(t, err)
				return
			}
			requireFileError(t, err, certs.ErrPermissions, key)
			require.ErrorContains(t, err, "chmod 600 "+key)
		})
	}
}

func requireFileError(t *testing.T, err, want error, path string) {
	t.Helper()
	require.ErrorIs(t, err, want)
	var refused *certs.FileError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, path, refused.Path)
	require.NotEmpty(t, refused.Detail)
}

func TestLoadKeyPairRefusesWhatIsNoPlainFile(t *testing.T) {
	tests := map[string]func(t *testing.T, key string){
		"link":          func(t *testing.T, key string) { require.NoError(t, os.Symlink(moved(t, key), key)) },
		"dangling link": func(t *testing.T, key string) { require.NoError(t, os.Symlink(moved(t, key)+"x", key)) },
		"folder":        func(t *testing.T, key string) { moved(t, key); require.NoError(t, os.Mkdir(key, 0o600)) },
	}
	for name, replace := range tests {
		t.Run(name, func(t *testing.T) {
			cert, key := pairOnDisk(t)
			replace(t, key)
			_, err := certs.LoadKeyPair(cert, key)
			requireFileError(t, err, certs.ErrPermissions, key)
		})
	}
}

func moved(t *testing.T, path string) string {
	t.Helper()
	require.NoError(t, os.Rename(path, path+".moved"))
	return path + ".moved"
}

func TestLoadKeyPairRefusesDamage(t *testing.T) {
	damages := map[string]func([]byte) []byte{
		"empty":       func([]byte) []byte { return nil },
		"spaces only": func([]byte) []byte { return []byte(" \n\n") },
		"cut off":     func(data []byte) []byte { return data[:len(data)/2] },
		"text before": func(data []byte) []byte { return append([]byte("Subject: alice\n"), data...) },
		"text behind": func(data []byte) []byte { return append(data, "trailing"...) },
		"zero bytes":  func(data []byte) []byte { return append(data, 0, 0) },
		"letter lost": func(data []byte) []byte { return append(data[:60:60], data[61:]...) },
		"wrong kind":  func(data []byte) []byte { return bytes.ReplaceAll(data, []byte("IVATE"), []byte("OPER")) },
		"broken, then good": func(data []byte) []byte {
			return append(bytes.Replace(data, []byte("M"), []byte("*"), 1), data...)
		},
		"headers": func(data []byte) []byte { return bytes.Replace(data, []byte("-----\n"), []byte("-----\nA: b\n\n"), 1) },
		"huge":    func(data []byte) []byte { return append(data, bytes.Repeat([]byte("\n"), 1<<20)...) },
	}
	for name, damage := range damages {
		for _, which := range []string{"certificate", "key"} {
			if name == "wrong kind" && which == "certificate" {
				continue // has no such letters; see TestParseRefusesOtherKinds
			}
			t.Run(name+" "+which, func(t *testing.T) {
				cert, key := pairOnDisk(t)
				path := map[string]string{"certificate": cert, "key": key}[which]
				require.NoError(t, os.WriteFile(path, damage(readFile(t, path)), 0o600))
				pair, err := certs.LoadKeyPair(cert, key)
				require.Zero(t, pair)
				requireFileError(t, err, certs.ErrDamaged, path)
			})
		}
	}
}

func TestLoadKeyPairRefusesAnothersKey(t *testing.T) {
	cert, _ := pairOnDisk(t)
	_, key := pairOnDisk(t)
	_, err := certs.LoadKeyPair(cert, key)
	requireFileError(t, err, certs.ErrDamaged, key)
}

func TestLoadKeyPairNeedsBoth(t *testing.T) {
	cert, key := pairOnDisk(t)
	tests := map[string]struct {
		cert, key string
		want      error
	}{
		"neither named":  {"", "", certs.ErrHalfPair},
		"no certificate": {"", key, certs.ErrHalfPair},
		"no key":         {cert, "", certs.ErrHalfPair},
		"lost both":      {cert + "x", key + "x", fs.ErrNotExist},
		"lost key":       {cert, key + "x", fs.ErrNotExist},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := certs.LoadKeyPair(test.cert, test.key)
			require.ErrorIs(t, err, test.want)
		})
	}
}

// Intermediate certificates follow the leaf, in their order.
func TestLoadKeyPairKeepsTheChain(t *testing.T) {
	cert, key := pairOnDisk(t)
	authority := filepath.Join(filepath.Dir(cert), devca.CertFile)
	writeFile(t, cert, append(readFile(t, cert), readFile(t, authority)...), 0o644)
	pair, err := certs.LoadKeyPair(cert, key)
	require.NoError(t, err)
	require.Len(t, pair.Certificate, 2)
	require.Equal(t, pair.Leaf.Raw, pair.Certificate[0])
}

// SECURITY, line 20.
func TestLoadKeyPairRefusesAKeyThatOthersCanReplace(t *testing.T) {
	for mode, good := range map[fs.FileMode]bool{0o700: true, 0o755: true, 0o777 | fs.ModeSticky: true, 0o775: false, 0o757: false, 0o777: false} {
		cert, key := pairOnDisk(t)
		require.NoError(t, os.Chmod(filepath.Dir(key), mode))
		_, err := certs.LoadKeyPair(cert, key)
		if good {
			require.NoError(t, err, mode)
			continue
		}
		requireFileError(t, err, certs.ErrPermissions, key)
		require.ErrorContains(t, err, "run: chmod go-w "+filepath.Dir(key))
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file to another user")
	}
	const other = 12345
	cert, key := pairOnDisk(t)
	require.NoError(t, os.Chown(key, other, -1))
	_, err := certs.LoadKeyPair(cert, key)
	requireFileError(t, err, certs.ErrPermissions, key)
	require.ErrorContains(t, err, "belongs to another user")
	cert, key = pairOnDisk(t)
	require.NoError(t, os.Chown(filepath.Dir(key), other, -1))
	_, err = certs.LoadKeyPair(cert, key)
	requireFileError(t, err, certs.ErrPermissions, key)
	require.ErrorContains(t, err, "in a folder of another user")
}
