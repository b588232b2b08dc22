package certs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

var (
	// ErrDamaged is a file whose content cannot be used as what it is given for.
	ErrDamaged = errors.New("certs: file is damaged or of another kind")
	// ErrUnsafeKey is a key file that others may be able to read or replace.
	ErrUnsafeKey = errors.New("certs: key file is not safe")
)

// FileError names a file that was refused and says what to do.
type FileError struct {
	Path   string
	Detail string
	// Err is [ErrDamaged], [ErrUnsafeKey] or [ErrList].
	Err error
}

// Error names the file, what is wrong with it and what to do.
func (e *FileError) Error() string { return fmt.Sprintf("%v: %s: %s", e.Err, e.Path, e.Detail) }

// Unwrap gives Err.
func (e *FileError) Unwrap() error { return e.Err }

func damaged(path, format string, args ...any) error {
	return &FileError{Path: path, Detail: fmt.Sprintf(format, args...), Err: ErrDamaged}
}

// ExistsError names a file that would have been overwritten. It is [fs.ErrExist].
type ExistsError struct {
	Path string
}

// Error names the file and what to do.
func (e *ExistsError) Error() string {
	return fmt.Sprintf("certs: %s exists and was not overwritten; move it away, or ask for overwriting (force)", e.Path)
}

// Unwrap gives [fs.ErrExist].
func (e *ExistsError) Unwrap() error { return fs.ErrExist }

const (
	modeKey    fs.FileMode = 0o600
	modeCert   fs.FileMode = 0o644
	modeFolder fs.FileMode = 0o700
)

// maxFile bounds what is read from one file, in bytes; a bundle of all public authorities takes a quarter of it.
const maxFile = 1 << 20

// filesAt gives the path itself or, if it is a folder, the files in it whose names end so. Hidden files are left out: by
// them those work who mount secrets.
func filesAt(path string, endings ...string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path) // sorted
	if err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	var files []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && slices.Contains(endings, filepath.Ext(e.Name())) {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, damaged(path, "is a folder without a file whose name ends in %s", strings.Join(endings, " or "))
	}
	return files, nil
}

func readCertFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	defer f.Close()
	return readAll(path, f)
}

// readKeyFile reads a key that only its owner can read or replace through its name.
func readKeyFile(path string) ([]byte, error) {
	named, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	if !named.Mode().IsRegular() {
		return nil, unsafeKey(path, "is a link or no plain file; put the key itself there")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	defer f.Close()
	opened, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	if !os.SameFile(named, opened) {
		return nil, unsafeKey(path, "was replaced while it was opened; try again")
	}
	if mode := opened.Mode().Perm(); mode&^modeKey != 0 {
		return nil, unsafeKey(path, fmt.Sprintf("has mode %04o, wider than 0600; run: chmod 600 %s", mode, path))
	}
	return readAll(path, f)
}

func unsafeKey(path, detail string) error {
	return &FileError{Path: path, Detail: detail, Err: ErrUnsafeKey}
}

func readAll(path string, f *os.File) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	if len(data) > maxFile {
		return nil, damaged(path, "is longer than %d bytes; is it the right file?", maxFile)
	}
	return data, nil
}

// file is what is to be written.
type file struct {
	path string
	data []byte
	mode fs.FileMode
}

// writePair writes a key and its certificate, the key first. Both are on disk under temporary names before either
// appears under its own, so that a full disk leaves neither. Without force nothing is written if one of them exists;
// of two that write at once, one gets the *ExistsError. With force, a crash between the two can leave the new key
// beside the old certificate, which is refused when they are loaded.
func writePair(key, cert file, force bool) error {
	if !force {
		if err := checkAbsent(key.path, cert.path); err != nil {
			return err
		}
	}
	stagedKey, err := stage(key)
	if err != nil {
		return err
	}
	defer stagedKey.discard()
	stagedCert, err := stage(cert)
	if err != nil {
		return err
	}
	defer stagedCert.discard()
	if err := stagedKey.publish(force); err != nil {
		return err
	}
	return stagedCert.publish(force)
}

func checkAbsent(paths ...string) error {
	for _, path := range paths {
		_, err := os.Lstat(path)
		if err == nil {
			return &ExistsError{Path: path}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("certs: %w", err)
		}
	}
	return nil
}

// staged is a file that is on disk, whole, under a temporary name in the folder of its own.
type staged struct {
	temp, path string
}

func stage(content file) (staged, error) {
	folder, name := filepath.Split(content.path)
	f, err := os.CreateTemp(filepath.Clean(folder), "."+name+".*")
	if err != nil {
		return staged{}, fmt.Errorf("certs: %w", err)
	}
	s := staged{temp: f.Name(), path: content.path}
	_, writeErr := f.Write(content.data)
	if err := errors.Join(writeErr, f.Chmod(content.mode), f.Sync(), f.Close()); err != nil {
		s.discard()
		return staged{}, fmt.Errorf("certs: %w", err)
	}
	return s, nil
}

// publish gives the file its own name. Only with force does it replace another: a hard link, unlike a rename, fails
// if the name is taken.
func (s staged) publish(force bool) error {
	give := os.Link
	if force {
		give = os.Rename
	}
	if err := give(s.temp, s.path); err != nil {
		if !force && errors.Is(err, fs.ErrExist) {
			return &ExistsError{Path: s.path}
		}
		return fmt.Errorf("certs: %w", err)
	}
	return syncFolder(filepath.Dir(s.path))
}

// discard removes the temporary name. After a rename it is gone, and a name that cannot be removed harms nobody: it
// has the mode of its file and is never read.
func (s staged) discard() { _ = os.Remove(s.temp) }

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("certs: %w", err)
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		return fmt.Errorf("certs: %w", err)
	}
	return nil
}
