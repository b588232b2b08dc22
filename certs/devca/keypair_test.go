package devca_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/atomicfile"
	"github.com/interlock-authz/interlock/certs/devca"
)

func TestKeyPairWrite(t *testing.T) {
	authority, _ := newAuthority(t)
	pair := issueClient(t, authority, devca.ClientOptions{SPIFFEID: alice})
	dir := filepath.Join(t.TempDir(), "new")
	require.NoError(t, pair.Write(dir, "alice", false))

	require.Equal(t, []string{"alice.crt", "alice.key"}, listing(t, dir))
	require.Equal(t, pair.CertPEM, readFile(t, filepath.Join(dir, "alice.crt")))
	require.Equal(t, pair.KeyPEM, readFile(t, filepath.Join(dir, "alice.key")))
	requireMode(t, filepath.Join(dir, "alice.key"), 0o600)
	requireMode(t, filepath.Join(dir, "alice.crt"), 0o644)
	loaded, err := certs.LoadKeyPair(filepath.Join(dir, "alice.crt"), filepath.Join(dir, "alice.key"))
	require.NoError(t, err)
	require.Equal(t, parseLeaf(t, pair).Raw, loaded.Leaf.Raw)
}

// Whichever file is there, the other is not written without force.
func TestKeyPairWriteOverwritesOnlyByForce(t *testing.T) {
	authority, _ := newAuthority(t)
	pair := issueClient(t, authority, devca.ClientOptions{SPIFFEID: alice})
	for _, there := range []string{"alice.key", "alice.crt"} {
		t.Run(there, func(t *testing.T) {
			dir := t.TempDir()
			path := writeFile(t, filepath.Join(dir, there), []byte("mine"), 0o644)
			err := pair.Write(dir, "alice", false)
			require.ErrorIs(t, err, fs.ErrExist)
			var exists *atomicfile.ExistsError
			require.ErrorAs(t, err, &exists)
			require.Equal(t, path, exists.Path)
			require.Equal(t, []string{there}, listing(t, dir))
			require.Equal(t, "mine", string(readFile(t, path)))

			require.NoError(t, pair.Write(dir, "alice", true))
			require.Equal(t, []string{"alice.crt", "alice.key"}, listing(t, dir))
			requireMode(t, filepath.Join(dir, "alice.key"), 0o600)
			require.Equal(t, pair.KeyPEM, readFile(t, filepath.Join(dir, "alice.key")))
		})
	}
}

// A link is a file that exists; with force the link is replaced, and what it points at is left alone.
func TestKeyPairWriteDoesNotFollowLinks(t *testing.T) {
	authority, _ := newAuthority(t)
	pair := issueClient(t, authority, devca.ClientOptions{SPIFFEID: alice})
	dir := t.TempDir()
	target := writeFile(t, filepath.Join(t.TempDir(), "target"), []byte("theirs"), 0o666)
	link := filepath.Join(dir, "alice.key")
	require.NoError(t, os.Symlink(target, link))

	require.ErrorIs(t, pair.Write(dir, "alice", false), fs.ErrExist)
	require.NoError(t, pair.Write(dir, "alice", true))
	require.Equal(t, "theirs", string(readFile(t, target)))
	requireMode(t, link, 0o600)

	require.NoError(t, os.Remove(filepath.Join(dir, "alice.crt")))
	require.NoError(t, os.Remove(link))
	require.NoError(t, os.Symlink(filepath.Join(dir, "nowhere"), link))
	require.ErrorIs(t, pair.Write(dir, "alice", false), fs.ErrExist)
}

// Of many writers without force one wins, and its key and certificate are the pair that stands.
func TestKeyPairWriteRace(t *testing.T) {
	authority, _ := newAuthority(t)
	pairs := make([]devca.KeyPair, 16)
	for i := range pairs {
		pairs[i] = issueClient(t, authority, devca.ClientOptions{SPIFFEID: alice})
	}
	for range 20 {
		dir := t.TempDir()
		require.EqualValues(t, 1, writeAtOnce(pairs, dir))
		require.Equal(t, []string{"alice.crt", "alice.key"}, listing(t, dir))
		_, err := certs.LoadKeyPair(filepath.Join(dir, "alice.crt"), filepath.Join(dir, "alice.key"))
		require.NoError(t, err)
	}
}

// writeAtOnce writes all pairs under one name and tells how many were written.
func writeAtOnce(pairs []devca.KeyPair, dir string) int32 {
	var written atomic.Int32
	var writers sync.WaitGroup
	start := make(chan struct{})
	for _, pair := range pairs {
		writers.Go(func() {
			<-start
			if pair.Write(dir, "alice", false) == nil {
				written.Add(1)
			}
		})
	}
	close(start)
	writers.Wait()
	return written.Load()
}

// A write that fails leaves nothing behind, above all no temporary copy of the key.
func TestKeyPairWriteFailsClean(t *testing.T) {
	authority, _ := newAuthority(t)
	pair := issueClient(t, authority, devca.ClientOptions{SPIFFEID: alice})

	t.Run("folder is a file", func(t *testing.T) {
		path := writeFile(t, filepath.Join(t.TempDir(), "file"), nil, 0o644)
		require.Error(t, pair.Write(path, "alice", false))
		require.Error(t, pair.Write(filepath.Join(path, "below"), "alice", false))
	})
	t.Run("key is a folder", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "alice.key"), 0o700))
		require.Error(t, pair.Write(dir, "alice", true))
		require.Equal(t, []string{"alice.key"}, listing(t, dir))
	})
	t.Run("name too long", func(t *testing.T) {
		dir := t.TempDir()
		require.Error(t, pair.Write(dir, strings.Repeat("a", 300), true))
		require.Empty(t, listing(t, dir))
	})
}

func TestKeyPairWriteRefusesNames(t *testing.T) {
	authority, _ := newAuthority(t)
	pair := issueClient(t, authority, devca.ClientOptions{SPIFFEID: alice})
	for _, name := range []string{"", ".", "..", ".hidden", "../alice", "a/b", `a\b`, "a\x00b"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new")
			require.ErrorIs(t, pair.Write(dir, name, true), devca.ErrFileName)
			require.NoDirExists(t, dir)
		})
	}
}
