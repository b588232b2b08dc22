package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// timeInNames is the layout of times in the names of files.
const timeInNames = "20060102-150405"

// createNew creates a file or a folder whose name has the time in it, and a number if that name is taken. create must return
// [fs.ErrExist] for a name that is taken.
func createNew(prefix, suffix string, now time.Time, create func(path string) error) (path string, err error) {
	base := prefix + now.Format(timeInNames)
	path = base + suffix
	for n := 2; ; n++ {
		if err = create(path); !errors.Is(err, fs.ErrExist) {
			return path, err
		}
		path = fmt.Sprintf("%s-%d%s", base, n, suffix)
	}
}

// newFolder makes a folder in parent, named by the time.
func newFolder(parent string) (string, error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	return createNew(parent+string(filepath.Separator), "", time.Now(), func(path string) error { return os.Mkdir(path, 0o755) })
}

// newFile writes a file that no other run overwrites, and returns its name.
func newFile(prefix, suffix string, write func(io.Writer) error) (string, error) {
	return createNew(prefix, suffix, time.Now(), func(path string) error {
		return writeFile(path, os.O_EXCL, write)
	})
}

// overwrite writes the file that the user has named.
func overwrite(path string, write func(io.Writer) error) error {
	return writeFile(path, os.O_TRUNC, write)
}

func writeFile(path string, flag int, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|flag, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}
