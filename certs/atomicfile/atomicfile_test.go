package atomicfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs/atomicfile"
)

func requireFolder(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	got := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		got[e.Name()] = string(data)
	}
	require.Equal(t, want, got)
}

func TestCreateWritesAllOrNone(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, atomicfile.Create(
		atomicfile.File{Path: in("a"), Data: []byte("1"), Mode: 0o600}, atomicfile.File{Path: in("b"), Data: []byte("2"), Mode: 0o644}))
	requireFolder(t, dir, map[string]string{"a": "1", "b": "2"})

	err := atomicfile.Create(atomicfile.File{Path: in("c"), Data: []byte("3"), Mode: 0o600}, atomicfile.File{Path: in("b"), Data: []byte("4"), Mode: 0o600})
	exists, ok := errors.AsType[*atomicfile.ExistsError](err)
	require.True(t, ok)
	require.Equal(t, in("b"), exists.Path)
	require.ErrorIs(t, err, fs.ErrExist)
	requireFolder(t, dir, map[string]string{"a": "1", "b": "2"})

	err = atomicfile.Create(atomicfile.File{Path: in("c"), Mode: 0o600}, atomicfile.File{Path: in("missing/d"), Mode: 0o600})
	require.ErrorIs(t, err, fs.ErrNotExist)
	requireFolder(t, dir, map[string]string{"a": "1", "b": "2"})
}

func TestReplaceReplacesALinkAndNotItsTarget(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(in("target"), []byte("old"), 0o600))
	require.NoError(t, os.Symlink("target", in("link")))
	require.NoError(t, atomicfile.Replace(atomicfile.File{Path: in("link"), Data: []byte("new"), Mode: 0o600}))
	requireFolder(t, dir, map[string]string{"target": "old", "link": "new"})
}

func TestModeIsSetRegardlessOfTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	path := filepath.Join(t.TempDir(), "a")
	for range 2 {
		require.NoError(t, atomicfile.Replace(atomicfile.File{Path: path, Mode: 0o644}))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o644), info.Mode())
	}
}

func TestPendingThatIsDiscardedLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
	p, err := atomicfile.New(path, 0o600)
	require.NoError(t, err)
	_, err = p.Write([]byte("half"))
	require.NoError(t, err)
	p.Discard()
	requireFolder(t, dir, map[string]string{"a": "old"})
}
