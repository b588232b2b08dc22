package journal

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/interlock-authz/interlock/actors/oplog"
)

// restoreFolder is where a backup is unpacked and checked first.
const restoreFolder = "restore-"

// Restore makes a store from a backup. It reads and checks the whole backup before it
// changes the folder, which has to be empty or missing; otherwise it returns [ErrNotEmpty].
// With replace, it moves an unused store aside and returns the path of its new folder. The
// restored store has a new store ID, because its next revision is not the one that followed
// in the original. Errors wrap [ErrBackup], [ErrDamaged], [ErrNotEmpty] or [ErrLocked].
func Restore(ctx context.Context, dir string, from io.Reader, replace bool, o Options) (v oplog.Verification, aside string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return v, "", err
	}
	if err := checkEmpty(dir); err != nil && !replace {
		return v, "", err
	}
	fresh := filepath.Join(dir, restoreFolder+rand.Text())
	if err := os.MkdirAll(filepath.Join(fresh, storeFolder), 0o700); err != nil {
		return v, "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	if err := unpack(ctx, fresh, from); err != nil {
		return v, "", err
	}
	if v, err = AcceptLoss(ctx, fresh, o); err != nil {
		return v, "", err
	}
	if aside, err = moveAside(dir); err != nil {
		return v, "", err
	}
	for _, name := range []string{headFile, storeFolder} {
		if err := os.Rename(filepath.Join(fresh, name), filepath.Join(dir, name)); err != nil {
			return v, aside, err
		}
	}
	return v, aside, syncDir(dir)
}

// checkEmpty returns what is in a folder. It ignores the rest of an interrupted restore.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != "lost+found" && !strings.HasPrefix(e.Name(), restoreFolder) {
			return fmt.Errorf("%w: %s holds %s", ErrNotEmpty, dir, e.Name())
		}
	}
	return nil
}

// unpack reads a backup into a folder, and checks that it is complete.
func unpack(ctx context.Context, dir string, from io.Reader) error {
	u := &unpacker{dir: dir, archive: tar.NewReader(from), sums: map[string]hash{}}
	for u.step != unpackedEnd {
		if err := ctx.Err(); err != nil {
			return err
		}
		header, err := u.archive.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it ends too early", ErrBackup)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBackup, err)
		}
		if err := u.entry(header); err != nil {
			return err
		}
	}
	return nil
}

// The states of reading a backup.
const (
	unpackedNothing = iota
	unpackedBegin
	unpackedEnd
)

type unpacker struct {
	dir     string
	archive *tar.Reader
	sizes   map[string]int64
	sums    map[string]hash
	step    int
}

func (u *unpacker) entry(header *tar.Header) error {
	name, inStore := strings.CutPrefix(header.Name, storeFolder+"/")
	switch {
	case header.Typeflag != tar.TypeReg, isSparse(header):
		return fmt.Errorf("%w: %q is no plain file", ErrBackup, header.Name)
	case u.step == unpackedNothing && header.Name == backupBegin:
		u.step = unpackedBegin
		return u.begin()
	case u.step == unpackedBegin && header.Name == backupEnd:
		u.step = unpackedEnd
		return u.end()
	case u.step == unpackedBegin && inStore && filepath.IsLocal(name) && filepath.Base(name) == name:
		if size, known := u.sizes[name]; !known || size != header.Size {
			return fmt.Errorf("%w: file %s has %d bytes, which is not what the backup announces", ErrBackup, name, header.Size)
		}
		return u.file(name)
	}
	return fmt.Errorf("%w: %q does not belong there; it is no backup of interlock", ErrBackup, header.Name)
}

// isSparse reports whether the entry stands for more bytes than the archive has: a backup of a
// few bytes must not fill the disk. Package tar expands such entries.
func isSparse(header *tar.Header) bool {
	for record := range header.PAXRecords {
		if record != "size" { // of a file of 8 GiB or more
			return true
		}
	}
	return false
}

// maxBackupDocument bounds a document that is read into memory.
const maxBackupDocument = 16 << 20

func (u *unpacker) document(into any) error {
	text, err := io.ReadAll(io.LimitReader(u.archive, maxBackupDocument))
	if err == nil {
		err = decode(metaKey, text, into)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBackup, err)
	}
	return nil
}

func (u *unpacker) begin() error {
	var doc backupDoc
	if err := u.document(&doc); err != nil {
		return err
	}
	if doc.Format != backupFormat {
		return fmt.Errorf("%w: it has version %d, and this interlock reads version %d", ErrFormat, doc.Format, backupFormat)
	}
	u.sizes = doc.Files
	return nil
}

func (u *unpacker) end() error {
	var doc backupEndDoc
	if err := u.document(&doc); err != nil {
		return err
	}
	if len(doc.Files) != len(u.sums) {
		return fmt.Errorf("%w: it names %d files and holds %d", ErrBackup, len(doc.Files), len(u.sums))
	}
	for name, sum := range u.sums {
		if doc.Files[name] != sum {
			return fmt.Errorf("%w: file %s is not the one that was written", ErrBackup, name)
		}
	}
	return nil
}

func (u *unpacker) file(name string) (err error) {
	path := filepath.Join(u.dir, storeFolder, name)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	sum := sha256.New()
	read := &remember{reader: u.archive}
	if _, err := io.Copy(io.MultiWriter(file, sum), read); err != nil {
		if read.err != nil {
			return fmt.Errorf("%w: file %s: %w", ErrBackup, name, err)
		}
		return err
	}
	u.sums[name] = hash(sum.Sum(nil))
	return file.Sync()
}

// remember records whether a read has failed.
type remember struct {
	reader io.Reader
	err    error
}

// Read implements [io.Reader].
func (r *remember) Read(p []byte) (int, error) {
	n, err := r.reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// moveAside moves an unused store to another folder and returns its path, empty if there is
// no store.
func moveAside(dir string) (aside string, err error) {
	if err := checkEmpty(dir); err == nil {
		return "", nil
	}
	store := filepath.Join(dir, storeFolder)
	if _, err := os.Stat(store); err == nil {
		lock, err := pebble.LockDirectory(store, vfs.Default)
		if err != nil {
			return "", fmt.Errorf("%w by another process: %w", ErrLocked, err)
		}
		defer func() { err = errors.Join(err, lock.Close()) }()
	}
	aside = filepath.Join(dir, "replaced-"+rand.Text())
	if err := os.Mkdir(aside, 0o700); err != nil {
		return "", err
	}
	for _, name := range []string{storeFolder, headFile} {
		err := os.Rename(filepath.Join(dir, name), filepath.Join(aside, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return aside, syncDir(dir)
}

func syncDir(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
