package certs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long files are left alone after one has changed: whoever writes several does not write them at once.
const settle = 100 * time.Millisecond

// WatchFiles calls changed when it has begun to watch, for what came before it would not see, and then, a moment
// after, when one of the files changes, or one in a folder among them, or a link
// leads elsewhere: the file, the folder that it is in, or the link ..data beside it, which those turn who mount
// secrets. Without paths it only waits. It returns when ctx is done, which is no error; an error says which folder
// cannot be watched.
func WatchFiles(ctx context.Context, paths []string, changed func()) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("certs: watch files: %w", err)
	}
	defer func() { _ = watcher.Close() }()
	for ctx.Err() == nil {
		matters, err := follow(watcher, paths)
		if err != nil {
			return err
		}
		if len(paths) > 0 {
			changed()
		}
		awaitChange(ctx, watcher, matters)
	}
	return nil
}

// follow watches the folders of all paths, anew each time since links may lead elsewhere by now. It returns which
// names matter.
func follow(watcher *fsnotify.Watcher, paths []string) (matters func(name string) bool, err error) {
	var names, folders []string
	for _, path := range paths {
		in := filepath.Dir(path)
		names = append(names, filepath.Clean(path), filepath.Join(in, "..data"), in)
		if err := watcher.Add(in); err != nil {
			return nil, fmt.Errorf("certs: watch %s: %w", in, err)
		}
		_ = watcher.Add(filepath.Dir(in)) // it may be closed to us, and is of use only where the folder is a link
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			folders = append(folders, filepath.Clean(path))
			if err := watcher.Add(path); err != nil {
				return nil, fmt.Errorf("certs: watch %s: %w", path, err)
			}
		}
	}
	return func(name string) bool {
		name = filepath.Clean(name)
		return slices.Contains(names, name) || slices.Contains(folders, filepath.Dir(name))
	}, nil
}

// awaitChange returns when something that matters has changed and settled, or ctx is done.
func awaitChange(ctx context.Context, watcher *fsnotify.Watcher, matters func(string) bool) {
	var settled <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-settled:
			return
		case e := <-watcher.Events:
			if settled == nil && matters(e.Name) {
				settled = time.After(settle)
			}
		case err := <-watcher.Errors:
			// Events may have been lost: it is as if everything had changed.
			if settled == nil && err != nil {
				settled = time.After(settle)
			}
		}
	}
}
