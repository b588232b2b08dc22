// Package atomicfile writes files that appear under their names whole or not at all, and that survive a power loss once
// the write returns. It relies on the permissions, hard links and folder syncs of a POSIX system.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// ExistsError names a file that [Create] would have overwritten. It is [fs.ErrExist].
type ExistsError struct {
	Path string
}

// Error names the file and what to do.
func (e *ExistsError) Error() string {
	return fmt.Sprintf("%s exists and was not overwritten; move it away, or ask for overwriting (force)", e.Path)
}

// Unwrap returns [fs.ErrExist].
func (e *ExistsError) Unwrap() error { return fs.ErrExist }

// File is a file to write.
type File struct {
	Path string
	Data []byte
	// Mode is set regardless of the umask.
	Mode fs.FileMode
}

// Create writes files that must not exist yet. If one exists, the error is an *[ExistsError] and nothing is written; of
// two concurrent calls for the same path, one gets the error. All files are on disk under temporary names before the
// first gets its own name, in the order given, so a full disk leaves none of them.
func Create(files ...File) error {
	for _, f := range files {
		_, err := os.Lstat(f.Path)
		if err == nil {
			return &ExistsError{Path: f.Path}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return write(files, (*Pending).CommitNew)
}

// Replace writes files and replaces existing ones. It replaces a link, and does not follow it. All files are on disk under
// temporary names before the first gets its own name, in the order given. A crash between two files can leave the new
// version of one and the old version of the other.
func Replace(files ...File) error { return write(files, (*Pending).Commit) }

func write(files []File, publish func(*Pending) error) error {
	pending := make([]*Pending, 0, len(files))
	for _, f := range files {
		p, err := New(f.Path, f.Mode)
		if err != nil {
			return err
		}
		defer p.Discard()
		if _, err := p.Write(f.Data); err != nil {
			return err
		}
		if err := p.Sync(); err != nil {
			return err
		}
		pending = append(pending, p)
	}
	for _, p := range pending {
		if err := publish(p); err != nil {
			return err
		}
	}
	return nil
}

// Pending is a file under a temporary name in the folder of its own, to be written as a stream. The caller ends it with
// [Pending.Commit] or [Pending.CommitNew], or gives it up with [Pending.Discard], which also cleans up after CommitNew. It is not safe for concurrent use.
type Pending struct {
	*renameio.PendingFile
	path string
}

// New opens a pending file for path, with that mode regardless of the umask.
func New(path string, mode fs.FileMode) (*Pending, error) {
	p, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(mode))
	if err != nil {
		return nil, err
	}
	return &Pending{p, path}, nil
}

// Commit syncs the file, gives it its own name, in place of a file or link that has it, and syncs the folder.
func (p *Pending) Commit() error {
	if err := p.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(p.path))
}

// CommitNew is [Pending.Commit] for a name that must not be taken: if it is, the error is an *[ExistsError].
func (p *Pending) CommitNew() error {
	if err := p.Sync(); err != nil {
		return err
	}
	// Unlike a rename, a hard link fails if the name is taken.
	err := os.Link(p.Name(), p.path)
	if errors.Is(err, fs.ErrExist) {
		return &ExistsError{Path: p.path}
	}
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(p.path))
}

// Discard removes the temporary name. After [Pending.Commit] it does nothing. A temporary name that cannot be removed
// does no harm: it has the mode of its file, and nothing reads it.
func (p *Pending) Discard() { _ = p.Cleanup() }

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
