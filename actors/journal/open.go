package journal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Names within the folder.
const (
	storeFolder = "store"
	headFile    = "head"
	spareFolder = "checkpoint"
)

// Open opens the store in a folder. It makes one if the folder is empty or missing. The
// folder and its files are private to the user. Errors wrap [ErrMissing], [ErrFormat], [ErrStoreID],
// [ErrLocked], [ErrPermissions], [ErrNotWritable], [ErrLost] or [ErrDamaged].
func Open(dir string, o Options) (*Journal, error) {
	j, err := newJournal(dir, o)
	if err != nil {
		return nil, err
	}
	if err := j.open(); err != nil {
		return nil, errors.Join(explain(dir, err), j.abandon())
	}
	return j, nil
}

func newJournal(dir string, o Options) (*Journal, error) {
	if o.files == nil {
		o.files = vfs.Default
	}
	if o.clock == nil {
		o.clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.VerifyEvery == 0 {
		o.VerifyEvery = 24 * time.Hour
	}
	if o.Keep.Age < 0 || o.Keep.Count < 0 || o.Keep.MinAge < 0 {
		return nil, errors.New("a limit of the log is not negative")
	}
	j := &Journal{
		options: o, dir: dir, log: o.Logger,
		files:   &fence{FS: o.files, spare: o.files.PathJoin(dir, spareFolder)},
		arrived: make(chan struct{}, 1), ahead: make(chan struct{}, 1), trim: make(chan chan error),
		failed: make(chan struct{}), unwritable: make(chan error, 1), stopping: make(chan struct{}),
	}
	j.files.failed = j.broken
	return j, nil
}

// guarded runs do, which writes to the store while no updates are taken: when it opens and
// when it closes. It returns the error of do or of the first failed write. After a failed
// write do blocks for good and nothing more is written.
func (j *Journal) guarded(do func() error) error {
	j.files.armed.Store(true)
	done := make(chan error, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				done <- damaged("store", fmt.Errorf("the store panicked: %v", v))
			}
		}()
		done <- do()
	}()
	select {
	case err := <-done:
		return err
	case err := <-j.unwritable:
		return err
	case <-j.failed:
		return j.cause
	}
}

// broken records that nothing can be written.
func (j *Journal) broken(err error) {
	j.mu.Lock()
	served := j.events.Deliver != nil
	if !served {
		j.unwritable <- err // buffered, sent once
	}
	j.mu.Unlock()
	if served {
		j.fail(err)
	}
}

// abandon releases the resources of a failed Open.
func (j *Journal) abandon() error {
	var errs []error
	if !j.files.down.Load() && j.db != nil {
		errs = append(errs, j.guarded(j.db.Close))
	}
	if j.files.down.Load() {
		j.files.settle()
	}
	if j.head != nil {
		errs = append(errs, j.head.close())
	}
	if j.lock != nil {
		errs = append(errs, j.files.unlock(j.lock))
	}
	return errors.Join(errs...)
}

// explain adds a hint to the error of a store that cannot be opened.
func explain(dir string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s: %w: %w", dir, ErrNotWritable, err)
	default:
		return fmt.Errorf("%s: %w", dir, err)
	}
}

func (j *Journal) path(name string) string { return j.files.PathJoin(j.dir, name) }

func (j *Journal) open() error {
	for _, folder := range []string{j.dir, j.path(storeFolder)} {
		if err := j.makeFolder(folder); err != nil {
			return err
		}
		if err := j.checkPrivate(folder); err != nil {
			return err
		}
	}
	if err := j.takeLock(); err != nil {
		return err
	}
	known, err := j.readHead()
	if err != nil {
		return err
	}
	return j.guarded(func() error {
		if err := j.openStore(known); err != nil {
			return err
		}
		if err := j.load(known); err != nil {
			return err
		}
		if j.options.readOnly {
			return nil
		}
		return j.clean()
	})
}

// makeFolder makes a missing folder and syncs its parent, also if the folder exists,
// because an earlier process may have stopped before the sync.
func (j *Journal) makeFolder(folder string) error {
	_, err := j.files.Stat(folder)
	missing := errors.Is(err, fs.ErrNotExist)
	if missing && j.options.Existing {
		return ErrMissing
	}
	if j.options.readOnly {
		return nil
	}
	parent := j.files.PathDir(folder)
	if missing && parent != folder {
		if err := j.makeFolder(parent); err != nil {
			return err
		}
	}
	if err := j.files.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	err = j.syncFolder(parent)
	if !missing && errors.Is(err, fs.ErrPermission) {
		return nil // this user may not open its parent
	}
	return err
}

// checkPrivate rejects a folder that other users may access.
func (j *Journal) checkPrivate(folder string) error {
	info, err := j.files.Stat(folder)
	if err != nil {
		return err
	}
	if vfs.Root(j.files) == vfs.Default && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %04o; set it with chmod 700", ErrPermissions, folder, info.Mode().Perm())
	}
	return nil
}

func (j *Journal) takeLock() error {
	lock, err := pebble.LockDirectory(j.path(storeFolder), j.files)
	if err == nil {
		j.lock = lock
		return nil
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return fmt.Errorf("%w by another process: %w", ErrLocked, err)
}

// readHead reads the head file. A new store gets one first of all.
func (j *Journal) readHead() (headDoc, error) {
	known, err := readHead(j.options.files, j.path(headFile))
	exists, listed := j.storeExists()
	switch {
	case listed != nil:
		return known, listed
	case err == nil && !exists && known.Revision > 0:
		return known, fmt.Errorf("%w: the head file says revision %d, and the store is gone", ErrLost, known.Revision)
	case errors.Is(err, errNoHead) && exists:
		return known, damaged("head file "+j.path(headFile), errNoHead)
	case errors.Is(err, errNoHead) && j.options.Existing:
		return known, ErrMissing
	case errors.Is(err, errNoHead):
		known = headDoc{StoreID: rand.Text()}
	case err != nil:
		return known, err
	}
	if j.options.readOnly {
		return known, nil
	}
	j.head, err = openHead(j.options.files, j.path(headFile), known)
	if err != nil {
		return known, err
	}
	if err := j.files.restrict(j.path(headFile), 0o600); err != nil {
		return known, err
	}
	j.files.head = j.head
	if known.Sequence > 0 {
		return known, nil
	}
	if err := errors.Join(j.head.reach(0, hash{}), j.head.sync()); err != nil {
		return known, err
	}
	return known, j.syncFolder(j.dir)
}

func (j *Journal) syncFolder(path string) error { return syncFolder(j.options.files, path) }

func (j *Journal) storeExists() (bool, error) {
	description, err := pebble.Peek(j.path(storeFolder), j.options.files)
	if err == nil {
		return description.Exists, nil
	}
	if strings.Contains(err.Error(), "unknown format major version") {
		return false, fmt.Errorf("%w: %w; a newer interlock wrote it", ErrFormat, err)
	}
	return false, damaged("list of the store's files", err)
}

// openStore checks the manifest and opens the store.
func (j *Journal) openStore(known headDoc) error {
	manifest, err := j.checkManifest(known)
	if err != nil {
		return err
	}
	logs, err := j.logSize()
	if err != nil {
		return err
	}
	j.unflushed = logs + known.Unchecked
	if j.head != nil {
		if err := j.head.begin(manifest, j.unflushed); err != nil {
			return err
		}
	}
	j.db, err = pebble.Open(j.path(storeFolder), j.storeOptions())
	return refusal(err)
}

// refusal returns why the store does not open. Every error that is not the operating
// system's means damage, because Pebble has many errors for that.
func refusal(err error) error {
	var system syscall.Errno
	if err == nil || errors.Is(err, ErrDamaged) || errors.As(err, &system) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return damaged("store", err)
}

func (j *Journal) storeOptions() *pebble.Options {
	o := &pebble.Options{
		FS: j.files, Lock: j.lock, Logger: &storeLogger{journal: j}, FormatMajorVersion: pebble.FormatNewest,
		ReadOnly: j.options.readOnly, MaxOpenFiles: j.options.MaxOpenFiles,
		CacheSize: 32 << 20, MemTableSize: 16 << 20,
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { _ = j.report(damaged("store, in the background", err)) },
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				_ = j.report(damaged("file "+j.files.PathBase(info.Path), info.Details))
			},
		},
	}
	if j.options.lean {
		o.CacheSize, o.MemTableSize = 1<<20, 256<<10
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // most principals that are looked up are absent
	}
	return o
}

// storeLogger receives Pebble's log. Its Fatalf means that Pebble cannot continue.
type storeLogger struct{ journal *Journal }

// Infof implements [pebble.Logger].
func (l *storeLogger) Infof(string, ...any) {}

// Errorf implements [pebble.Logger].
func (l *storeLogger) Errorf(format string, args ...any) {
	l.journal.log.Warn("the store says", slog.String("text", fmt.Sprintf(format, args...)))
}

// Fatalf implements [pebble.Logger]. It ends the journal and the goroutine's part in it,
// not the process: principals that are active go on.
func (l *storeLogger) Fatalf(format string, args ...any) {
	l.journal.files.bring(fmt.Errorf("the store cannot go on: "+format, args...))
	select {}
}

// clean removes what a backup left when the process ended.
func (j *Journal) clean() error {
	names, err := j.files.List(j.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, spareFolder) {
			if err := j.files.RemoveAll(j.path(name)); err != nil {
				return err
			}
		}
	}
	return nil
}
