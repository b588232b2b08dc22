package journal_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// gatedDisk is a disk whose syncs of the store's log can be held up.
type gatedDisk struct {
	vfs.FS
	syncs   atomic.Int64
	holding atomic.Bool
	arrived chan struct{}
	pass    chan struct{}
}

func newGatedDisk() *gatedDisk {
	return &gatedDisk{FS: vfs.NewMem(), arrived: make(chan struct{}), pass: make(chan struct{})}
}

func (d *gatedDisk) wrap(name string, file vfs.File, err error) (vfs.File, error) {
	if err != nil || !strings.HasSuffix(name, ".log") {
		return file, err
	}
	return &gatedFile{file, d}, nil
}

// Create implements [vfs.FS].
func (d *gatedDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := d.FS.Create(name, c)
	return d.wrap(name, file, err)
}

// ReuseForWrite implements [vfs.FS].
func (d *gatedDisk) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := d.FS.ReuseForWrite(oldname, newname, c)
	return d.wrap(newname, file, err)
}

type gatedFile struct {
	vfs.File
	disk *gatedDisk
}

// SyncData implements [vfs.File].
func (f *gatedFile) SyncData() error {
	f.disk.syncs.Add(1)
	if f.disk.holding.Load() {
		f.disk.arrived <- struct{}{}
		<-f.disk.pass
	}
	return f.File.SyncData()
}

// What arrives while a group is being synced is checked meanwhile, and kept with one sync.
func TestUpdatesFormAGroupWhileOneIsSynced(t *testing.T) {
	disk := newGatedDisk()
	var commits atomic.Int32
	s := open(t, disk, journal.Options{Committed: func(took time.Duration) {
		if took > 0 {
			commits.Add(1)
		}
	}})
	_, err := s.Update(t.Context(), actors.Update{Changes: []policy.Change{policy.PutRole(writer(t), "")}})
	require.NoError(t, err)
	require.EqualValues(t, 1, commits.Load())

	disk.holding.Store(true)
	before := disk.syncs.Load()
	const others = 4
	revisions := make([]uint64, 1+others)
	var all, checked sync.WaitGroup
	update := func(n int) {
		all.Go(func() {
			r, err := s.Update(t.Context(), actors.Update{
				Changes: []policy.Change{grant(policy.MustPrincipal(fmt.Sprintf("user:u%d", n)), "writer")},
				Before:  func(policy.View) error { checked.Done(); return nil },
			})
			if err != nil {
				t.Error(err)
			}
			revisions[n] = r.Revision
		})
	}
	checked.Add(1)
	update(0)
	<-disk.arrived
	checked.Add(others)
	for n := range others {
		update(1 + n)
	}
	within(t, "checking", func() error { checked.Wait(); return nil })
	require.Equal(t, before+1, disk.syncs.Load())
	require.Equal(t, uint64(1), s.Revision(), "what is not synced takes no effect")

	disk.holding.Store(false)
	disk.pass <- struct{}{}
	within(t, "the updates", func() error { all.Wait(); return nil })
	require.Equal(t, before+2, disk.syncs.Load())
	require.EqualValues(t, 3, commits.Load())
	require.Equal(t, uint64(2), revisions[0])
	require.ElementsMatch(t, []uint64{2, 3, 4, 5, 6}, revisions)
}

// What cannot be written down is refused, and the log goes on.
func TestTextThatIsNoUTF8IsRefused(t *testing.T) {
	s := open(t, vfs.NewMem(), journal.Options{})
	put := func(reason, credential string) error {
		_, err := s.Update(t.Context(), actors.Update{
			Changes: []policy.Change{policy.PutRole(writer(t), reason)},
			Author:  oplog.Author{Principal: admin, Credential: credential},
		})
		return err
	}
	require.ErrorIs(t, put("\xff", ""), policy.ErrInvalid)
	require.ErrorIs(t, put("", "\xff"), policy.ErrInvalid)
	require.NoError(t, put("ż", "ó"))
	require.NoError(t, s.Failure())
}
