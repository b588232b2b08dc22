package journal_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// onDisk opens a store in a real folder.
func onDisk(t testing.TB, dir string) *stage {
	j, err := journal.Open(dir, journal.Options{Logger: quiet})
	require.NoError(t, err)
	e, err := actors.New(actors.Options{Log: j, Logger: quiet})
	require.NoError(t, err)
	s := &stage{Engine: e, journal: j}
	t.Cleanup(func() { s.end(t) })
	return s
}

func filled(t testing.TB, dir string) *stage {
	s := onDisk(t, dir)
	s.update(t, policy.PutRole(writer(t), ""), policy.PutRole(reader(t), ""))
	for i := range 50 {
		s.update(t, grant(policy.MustPrincipal(fmt.Sprintf("user:u%d", i)), "reader"))
	}
	s.update(t, grant(alice, "writer"))
	return s
}

func backupOf(t testing.TB, s *stage) []byte {
	var b bytes.Buffer
	require.NoError(t, s.journal.Backup(t.Context(), &b))
	return b.Bytes()
}

func restore(dir string, backup []byte, replace bool) (oplog.Verification, string, error) {
	return journal.Restore(context.Background(), dir, bytes.NewReader(backup), replace, journal.Options{Logger: quiet})
}

func TestBackupAndRestore(t *testing.T) {
	dir := t.TempDir()
	s := filled(t, filepath.Join(dir, "one"))
	backup := backupOf(t, s)
	s.update(t, revoke(alice, "writer"))
	names, err := os.ReadDir(filepath.Join(dir, "one"))
	require.NoError(t, err)
	require.Len(t, names, 2, "nothing of the copy is left")

	two := filepath.Join(dir, "two")
	v, aside, err := restore(two, backup, false)
	require.NoError(t, err)
	require.Empty(t, aside)
	require.EqualValues(t, 52, v.Revision)
	require.NotEqual(t, s.StoreID(), v.StoreID)
	r := onDisk(t, two)
	require.Equal(t, v.StoreID, r.StoreID())
	require.True(t, r.may(t, alice, "orders:write", "orders/1"))
	r.update(t, revoke(alice, "writer"))

	_, _, err = restore(two, backup, false)
	require.ErrorIs(t, err, journal.ErrNotEmpty)
	_, _, err = restore(two, backup, true)
	require.ErrorIs(t, err, journal.ErrLocked)
	r.end(t)
	v, aside, err = restore(two, backup, true)
	require.NoError(t, err)
	require.DirExists(t, filepath.Join(aside, "store"))
	checked, err := journal.Check(t.Context(), two, journal.Options{Logger: quiet})
	require.NoError(t, err)
	require.Equal(t, v, checked)
	require.True(t, onDisk(t, two).may(t, alice, "orders:write", "orders/1"))
}

// INTERLOCK_SOAK=1 damages more places.
func TestDamagedBackupsTouchNothing(t *testing.T) {
	dir := t.TempDir()
	backup := backupOf(t, filled(t, filepath.Join(dir, "one")))
	two := filepath.Join(dir, "two")
	refused := func(data []byte, what string) {
		_, _, err := restore(two, data, false)
		require.ErrorIs(t, err, journal.ErrBackup, what)
		names, err := os.ReadDir(two)
		require.NoError(t, err)
		require.Empty(t, names, what)
	}
	refused(nil, "empty")
	refused([]byte("no archive at all"), "text")
	for n := 0; n < len(backup)-2048; n += either(5861, 977) {
		refused(backup[:n], fmt.Sprintf("cut off at byte %d", n))
	}
	flips := either(30, 200)
	for n := range flips {
		at := (len(backup) - 1100) * n / flips
		flipped := bytes.Clone(backup)
		flipped[at] ^= 0x10
		_, _, err := restore(filepath.Join(dir, fmt.Sprint("flip", n)), flipped, false)
		if err == nil { // what pads a header or a file means nothing
			require.True(t, onDisk(t, filepath.Join(dir, fmt.Sprint("flip", n))).may(t, alice, "orders:write", "orders/1"))
		}
	}
}

func TestCheckAStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "one")
	_, err := journal.Check(t.Context(), dir, journal.Options{Logger: quiet})
	require.ErrorIs(t, err, journal.ErrMissing)
	require.NoDirExists(t, dir)
	s := filled(t, dir)
	_, err = journal.Check(t.Context(), dir, journal.Options{Logger: quiet})
	require.ErrorIs(t, err, journal.ErrLocked)
	s.end(t)
	v, err := journal.Check(t.Context(), dir, journal.Options{Logger: quiet})
	require.NoError(t, err)
	require.EqualValues(t, 52, v.Revision)
	require.Equal(t, 52, v.Entries)
	require.Equal(t, 51, v.Principals)
}

// A store that was put back to an earlier state says so; who knows what is lost can take
// it, under a new name.
func TestALostRevisionIsAcceptedKnowingly(t *testing.T) {
	dir := t.TempDir()
	one, kept := filepath.Join(dir, "one"), filepath.Join(dir, "kept")
	s := filled(t, one)
	s.end(t)
	require.NoError(t, os.CopyFS(kept, os.DirFS(filepath.Join(one, "store"))))
	s = onDisk(t, one)
	s.update(t, revoke(alice, "writer"))
	identity := s.StoreID()
	s.end(t)
	require.NoError(t, os.RemoveAll(filepath.Join(one, "store")))
	require.NoError(t, os.CopyFS(filepath.Join(one, "store"), os.DirFS(kept)))
	require.NoError(t, os.Chmod(filepath.Join(one, "store"), 0o700))

	_, err := journal.Open(one, journal.Options{Logger: quiet})
	require.Error(t, err)
	v, err := journal.AcceptLoss(t.Context(), one, journal.Options{Logger: quiet})
	require.NoError(t, err)
	require.EqualValues(t, 52, v.Revision)
	require.NotEqual(t, identity, v.StoreID)
	require.True(t, onDisk(t, one).may(t, alice, "orders:write", "orders/1"))
}

// block returns a header of a tar archive (POSIX.1-1988, ustar).
func block(name string, kind byte, size int) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000600\x00")
	copy(b[124:], fmt.Sprintf("%011o\x00", size))
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

func padded(text string) []byte {
	return append([]byte(text), make([]byte, (512-len(text)%512)%512)...)
}

// SECURITY, line 26.
func TestASmallBackupFillsNoDisk(t *testing.T) {
	begin := func(files string) []byte {
		doc := `{"format":2,"identity":"x","time":"2026-01-01T00:00:00Z","files":{` + files + `}}`
		return append(block("interlock-backup.json", '0', len(doc)), padded(doc)...)
	}
	const size = 1 << 24
	entry := func(records ...string) []byte {
		text := ""
		for _, r := range records {
			n := len(r) + 4
			text += fmt.Sprintf("%d %s\n", n, r) // all have two digits
			require.Len(t, fmt.Sprintf("%d %s\n", n, r), n)
		}
		archive := append(begin(fmt.Sprintf(`"x":%d`, size)), append(block("PaxHeaders/x", 'x', len(text)), padded(text)...)...)
		return append(append(archive, block("store/x", '0', 0)...), make([]byte, 1024)...)
	}
	for name, backup := range map[string][]byte{
		"a sparse file": entry("GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.name=store/x", fmt.Sprintf("GNU.sparse.size=%d", size), "GNU.sparse.numblocks=0", "GNU.sparse.map="),
		"not announced": append(begin(""), append(append(block("store/x", '0', 3), padded("abc")...), make([]byte, 1024)...)...),
		"another size":  append(begin(`"x":2`), append(append(block("store/x", '0', 3), padded("abc")...), make([]byte, 1024)...)...),
	} {
		dir := filepath.Join(t.TempDir(), "two")
		_, _, err := restore(dir, backup, false)
		require.ErrorIs(t, err, journal.ErrBackup, name)
		if name == "a sparse file" {
			require.ErrorContains(t, err, "is no plain file")
		} else {
			require.ErrorContains(t, err, "announces", name)
		}
	}
}
