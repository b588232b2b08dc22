package journal

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A backup is a tar archive: a header document, the files of the store, and a trailer with
// the hashes of all files. Without the trailer the backup is incomplete.
const (
	backupBegin  = "interlock-backup.json"
	backupEnd    = "end.json"
	backupFormat = 2
)

// backupDoc is the header of a backup.
type backupDoc struct {
	Format  int       `json:"format"`
	StoreID string    `json:"identity"`
	Time    time.Time `json:"time"`
	// Files has the size of each file in bytes.
	Files map[string]int64 `json:"files"`
}

// backupEndDoc is the trailer of a backup.
type backupEndDoc struct {
	Files map[string]hash `json:"files"`
}

// Backup writes a snapshot of the store, for [Restore]. Updates continue meanwhile, even
// if the writer is slow. [Restore] detects a backup that was cut off.
func (j *Journal) Backup(ctx context.Context, to io.Writer) error {
	leave, err := j.enter()
	if err != nil {
		return err
	}
	defer leave()
	folder := j.path(spareFolder + "-" + rand.Text())
	defer func() { _ = j.files.RemoveAll(folder) }() // the next start removes what remains
	if err := j.db.Checkpoint(folder, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("copying the store: %w", err)
	}
	w := &backupWriter{ctx: ctx, journal: j, folder: folder, archive: tar.NewWriter(to), sums: map[string]hash{}}
	return w.write()
}

type backupWriter struct {
	ctx     context.Context
	journal *Journal
	folder  string
	archive *tar.Writer
	sums    map[string]hash
}

func (w *backupWriter) write() error {
	j := w.journal
	names, err := j.files.List(w.folder)
	if err != nil {
		return err
	}
	begin := backupDoc{
		Format: backupFormat, StoreID: j.identity, Time: j.options.clock().UTC().Truncate(time.Second),
		Files: make(map[string]int64, len(names)),
	}
	for _, name := range names {
		info, err := j.files.Stat(j.files.PathJoin(w.folder, name))
		if err != nil {
			return fmt.Errorf("backup of %s: %w", name, err)
		}
		begin.Files[name] = info.Size()
	}
	if err := w.document(backupBegin, encode(&begin)); err != nil {
		return err
	}
	for _, name := range names {
		if err := w.file(name); err != nil {
			return fmt.Errorf("backup of %s: %w", name, err)
		}
	}
	if err := w.document(backupEnd, encode(&backupEndDoc{Files: w.sums})); err != nil {
		return err
	}
	return w.archive.Close()
}

func (w *backupWriter) header(name string, size int64) error {
	return w.archive.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o600, Format: tar.FormatPAX})
}

func (w *backupWriter) document(name string, text []byte) error {
	if err := w.header(name, int64(len(text))); err != nil {
		return err
	}
	_, err := w.archive.Write(text)
	return err
}

func (w *backupWriter) file(name string) error {
	files := w.journal.files
	file, err := files.Open(files.PathJoin(w.folder, name))
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := w.header(storeFolder+"/"+name, info.Size()); err != nil {
		return err
	}
	sum := sha256.New()
	from := &stoppable{ctx: w.ctx, stopping: w.journal.stopping, reader: file}
	if _, err := io.Copy(io.MultiWriter(w.archive, sum), from); err != nil {
		return err
	}
	w.sums[name] = hash(sum.Sum(nil))
	return nil
}

// stoppable is a reader that ends with the error of its context.
type stoppable struct {
	ctx      context.Context
	stopping <-chan struct{}
	reader   io.Reader
}

// Read implements [io.Reader].
func (s *stoppable) Read(p []byte) (int, error) {
	select {
	case <-s.stopping:
		return 0, errors.New("the store is closing")
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	default:
		return s.reader.Read(p)
	}
}
