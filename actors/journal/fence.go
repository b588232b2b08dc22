package journal

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	stdhash "hash"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fence is the file system between Pebble and the disk. It makes private files. It tells
// the head how far the manifests are synced. It stops everything at the first failed write:
// the goroutine that met the failure blocks for good, so that Pebble cannot retry, panic or
// end the process. Nothing is written afterwards, so a restart finds the files as they were
// at the failure.
type fence struct {
	vfs.FS
	// spare is a folder whose writes may fail: that of a backup.
	spare string
	// failed is called, once armed, with the first error of a write.
	failed func(error)
	armed  atomic.Bool
	down   atomic.Bool
	// passing is held shared by writers, and exclusively by settle.
	passing sync.RWMutex
	head    *head
	locked  io.Closer // the lock on the folder
}

// pass admits a write. It does not return after a write has failed.
func (f *fence) pass(path string, write func() error) error {
	f.passing.RLock()
	if f.down.Load() {
		f.passing.RUnlock()
		select {}
	}
	err := write()
	f.passing.RUnlock()
	return f.check(path, err)
}

// settle waits, after a failure, until all admitted writes have ended. Nothing touches the
// files afterwards.
func (f *fence) settle() {
	f.passing.Lock()
	defer f.passing.Unlock()
}

// check returns after a successful write. It does not return after an error.
func (f *fence) check(path string, err error) error {
	if err == nil || !f.armed.Load() || f.spared(path) {
		return err
	}
	f.bring(err)
	select {}
}

// bring stops all later writes.
func (f *fence) bring(err error) {
	if !f.down.Swap(true) {
		f.failed(err)
	}
}

func (f *fence) spared(path string) bool { return strings.HasPrefix(path, f.spare) }

// restrict removes the permissions of other users from a file.
func (f *fence) restrict(path string, mode fs.FileMode) error {
	if vfs.Root(f.FS) != vfs.Default {
		return nil
	}
	return os.Chmod(path, mode)
}

// made makes a private file.
func (f *fence) made(path string, open func() (vfs.File, error)) (file vfs.File, err error) {
	err = f.pass(path, func() (err error) {
		if file, err = open(); err != nil {
			return err
		}
		if err = f.restrict(path, 0o600); err != nil {
			return joinClose(err, file)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f.wrap(path, file), nil
}

func joinClose(err error, file vfs.File) error {
	_ = file.Close() // the first error is returned
	return err
}

func (f *fence) wrap(path string, file vfs.File) vfs.File {
	fenced := &fencedFile{File: file, fence: f, path: path}
	if digits, ok := strings.CutPrefix(f.PathBase(path), "MANIFEST-"); ok && !f.spared(path) {
		if number, err := strconv.ParseUint(digits, 10, 64); err == nil {
			return &manifestFile{fencedFile: fenced, doc: manifestDoc{Number: number}, sum: sha256.New()}
		}
	}
	return fenced
}

// Create implements [vfs.FS].
func (f *fence) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.made(name, func() (vfs.File, error) { return f.FS.Create(name, category) })
}

// OpenReadWrite implements [vfs.FS].
func (f *fence) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.made(name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, category, opts...) })
}

// ReuseForWrite implements [vfs.FS].
func (f *fence) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.made(newname, func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, category) })
}

// OpenDir implements [vfs.FS].
func (f *fence) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	if err := f.check(name, err); err != nil {
		return nil, err
	}
	return &fencedFile{File: file, fence: f, path: name}, nil
}

// List implements [vfs.FS]. The store lists its folder when it is opened, and panics if
// that fails while it works already.
func (f *fence) List(dir string) ([]string, error) {
	names, err := f.FS.List(dir)
	return names, f.check(dir, err)
}

// Link implements [vfs.FS].
func (f *fence) Link(oldname, newname string) error {
	return f.pass(newname, func() error { return f.FS.Link(oldname, newname) })
}

// Remove implements [vfs.FS]. That a file is gone already is no failure. The store removes
// a marker when it has made the next, which has to outlast a loss of power then.
func (f *fence) Remove(name string) error {
	if strings.HasPrefix(f.PathBase(name), "marker.") {
		if err := f.pass(name, func() error { return syncFolder(f.FS, f.PathDir(name)) }); err != nil {
			return err
		}
	}
	var gone error
	err := f.pass(name, func() error {
		err := f.FS.Remove(name)
		if errors.Is(err, fs.ErrNotExist) {
			gone, err = err, nil
		}
		return err
	})
	return cmp.Or(err, gone)
}

// RemoveAll implements [vfs.FS].
func (f *fence) RemoveAll(name string) error {
	return f.pass(name, func() error { return f.FS.RemoveAll(name) })
}

// Rename implements [vfs.FS].
func (f *fence) Rename(oldname, newname string) error {
	return f.pass(newname, func() error { return f.FS.Rename(oldname, newname) })
}

// Lock implements [vfs.FS].
func (f *fence) Lock(name string) (io.Closer, error) {
	lock, err := f.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	if err := f.restrict(name, 0o600); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	f.locked = lock
	return lock, nil
}

// MkdirAll implements [vfs.FS].
func (f *fence) MkdirAll(dir string, _ os.FileMode) error {
	return f.pass(dir, func() error { return f.FS.MkdirAll(dir, 0o700) })
}

// syncFolder makes the names in a folder survive power loss.
func syncFolder(files vfs.FS, path string) error {
	folder, err := files.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// unlock releases the folder, although the goroutine that failed still holds the lock.
func (f *fence) unlock(lock io.Closer) error {
	if f.down.Load() {
		return f.locked.Close()
	}
	return lock.Close()
}

// Unwrap implements [vfs.FS].
func (f *fence) Unwrap() vfs.FS { return f.FS }

// fencedFile is a file behind the fence.
type fencedFile struct {
	vfs.File
	fence *fence
	path  string
}

// Write implements [vfs.File].
func (f *fencedFile) Write(p []byte) (int, error) {
	n := 0
	err := f.fence.pass(f.path, func() (err error) { n, err = f.File.Write(p); return err })
	return n, err
}

// WriteAt implements [vfs.File].
func (f *fencedFile) WriteAt(p []byte, offset int64) (int, error) {
	n := 0
	err := f.fence.pass(f.path, func() (err error) { n, err = f.File.WriteAt(p, offset); return err })
	return n, err
}

// Sync implements [vfs.File].
func (f *fencedFile) Sync() error {
	return f.fence.pass(f.path, f.File.Sync)
}

// SyncTo implements [vfs.File].
func (f *fencedFile) SyncTo(length int64) (bool, error) {
	full := false
	err := f.fence.pass(f.path, func() (err error) { full, err = f.File.SyncTo(length); return err })
	return full, err
}

// SyncData implements [vfs.File].
func (f *fencedFile) SyncData() error {
	return f.fence.pass(f.path, f.File.SyncData)
}

// manifestFile is a manifest. Its length is written to the head before the caller of Sync
// can remove a log that the tables in it replace. Its name survives power loss before
// another name points to it.
type manifestFile struct {
	*fencedFile
	doc    manifestDoc
	sum    stdhash.Hash
	listed bool // in its folder
}

// Write implements [vfs.File].
func (m *manifestFile) Write(p []byte) (int, error) {
	m.sum.Write(p) // before the file may change p
	n, err := m.fencedFile.Write(p)
	m.doc.Length += int64(n)
	return n, err
}

// Sync implements [vfs.File].
func (m *manifestFile) Sync() error {
	if err := m.fencedFile.Sync(); err != nil {
		return err
	}
	return m.note()
}

// SyncData implements [vfs.File].
func (m *manifestFile) SyncData() error {
	if err := m.fencedFile.SyncData(); err != nil {
		return err
	}
	return m.note()
}

func (m *manifestFile) note() error {
	if !m.listed {
		if err := m.fence.pass(m.path, func() error { return syncFolder(m.fence.FS, m.fence.PathDir(m.path)) }); err != nil {
			return err
		}
		m.listed = true
	}
	m.doc.Sum = hex.EncodeToString(m.sum.Sum(nil)[:16])
	return m.fence.pass(m.path, func() error { return m.fence.head.manifest(m.doc) })
}
