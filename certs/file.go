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
	"syscall"
)

var (
	// ErrDamaged is wrapped for a file whose content cannot be used.
	ErrDamaged = errors.New("certs: file is damaged or of another kind")
	// ErrPermissions is wrapped for a key file that other users may read or replace.
	ErrPermissions = errors.New("certs: permission error on key file")
)

// FileError names a rejected file and says what to do.
type FileError struct {
	Path   string
	Detail string
	// Err is [ErrDamaged], [ErrPermissions] or [ErrCRL].
	Err error
}

// Error returns the file, the problem and what to do.
func (e *FileError) Error() string { return fmt.Sprintf("%v: %s: %s", e.Err, e.Path, e.Detail) }

// Unwrap returns Err.
func (e *FileError) Unwrap() error { return e.Err }

func damaged(path, format string, args ...any) error {
	return &FileError{Path: path, Detail: fmt.Sprintf(format, args...), Err: ErrDamaged}
}

// modeKey is the widest mode of a key file.
const modeKey fs.FileMode = 0o600

// maxFile bounds the size of a file, in bytes. A bundle of all public CAs has a quarter of it.
const maxFile = 1 << 20

// filesAt returns the path, or the files in it with that suffix if it is a folder. It skips hidden files, which secret
// mounts use.
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

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	defer f.Close()
	return readAll(path, f)
}

// readKeyFile reads a key file that only its owner can read or replace.
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
	if err := checkOwner(path, opened); err != nil {
		return nil, err
	}
	return readAll(path, f)
}

// checkOwner rejects a key that another user than ours and root owns or can replace.
func checkOwner(path string, key os.FileInfo) error {
	folder, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("certs: %w", err)
	}
	switch mode := folder.Mode(); {
	case !isOurs(key):
		return unsafeKey(path, "belongs to another user; make the user of this process its owner")
	case !isOurs(folder):
		return unsafeKey(path, "is in a folder of another user, who can replace it")
	case mode.Perm()&0o022 != 0 && mode&os.ModeSticky == 0:
		return unsafeKey(path, fmt.Sprintf("is in a folder with mode %04o, in which others can replace it; run: chmod go-w %s", mode.Perm(), filepath.Dir(path)))
	}
	return nil
}

func isOurs(file os.FileInfo) bool {
	stat, ok := file.Sys().(*syscall.Stat_t)
	return !ok || stat.Uid == 0 || int(stat.Uid) == os.Geteuid()
}

func unsafeKey(path, detail string) error {
	return &FileError{Path: path, Detail: detail, Err: ErrPermissions}
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
