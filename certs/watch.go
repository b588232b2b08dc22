package certs

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long files have to be unchanged before a load, because a rotation writes several files.
	settle = 100 * time.Millisecond
	// lookAgain is the interval at which files are loaded that cannot be watched.
	lookAgain = 5 * time.Second
)

// WatchFiles calls changed once when it has started. Then it calls changed shortly after one of the files changes, a
// file in one of the folders changes, or a link leads elsewhere. It watches the file, the folders above it, and the
// link ..data next to it that secret mounts use. If something cannot be watched, such as a missing folder, it calls
// changed every 5 seconds. Without paths it only waits. It returns when ctx is done.
func WatchFiles(ctx context.Context, paths []string, changed func()) {
	for ctx.Err() == nil && len(paths) > 0 {
		w := newWatch(paths)
		changed()
		w.await(ctx)
		w.close()
	}
	<-ctx.Done()
}

// watch waits for one change. It is made again after each change, because links may lead elsewhere by then.
type watch struct {
	watcher *fsnotify.Watcher // nil if the system has none
	names   []string          // relevant names
	folders []string          // folders in which every name is relevant
	blind   bool              // something cannot be watched
}

func newWatch(paths []string) *watch {
	w := &watch{}
	var err error
	if w.watcher, err = fsnotify.NewWatcher(); err != nil {
		w.blind = true
		return w
	}
	for _, path := range paths {
		if whole, err := filepath.Abs(path); err == nil {
			path = whole
		}
		w.follow(path)
		if in, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
			w.follow(filepath.Join(in, filepath.Base(path))) // events can have this name
		}
		if leads, err := filepath.EvalSymlinks(path); err != nil {
			w.blind = true
		} else {
			w.follow(leads)
		}
	}
	return w
}

// follow watches a name, the files in it if it is a folder, the link ..data next to it, and the folders above it.
func (w *watch) follow(path string) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		w.add(path)
		w.folders = append(w.folders, path)
	}
	in := filepath.Dir(path)
	w.add(in)
	w.names = append(w.names, path, filepath.Join(in, "..data"))
	for above := filepath.Dir(in); above != in; in, above = above, filepath.Dir(above) {
		w.names = append(w.names, in)
		_ = w.watcher.Add(above) // optional: it only matters if a folder is replaced
	}
}

func (w *watch) add(folder string) {
	if w.watcher.Add(folder) != nil {
		w.blind = true
	}
}

func (w *watch) matters(name string) bool {
	name = filepath.Clean(name)
	return slices.Contains(w.names, name) || slices.Contains(w.folders, filepath.Dir(name))
}

// await returns when a watched name has changed and settled, or ctx is done.
func (w *watch) await(ctx context.Context) {
	var (
		settled, again <-chan time.Time
		events         chan fsnotify.Event
		errs           chan error
	)
	if w.watcher != nil {
		events, errs = w.watcher.Events, w.watcher.Errors
	}
	if w.blind {
		again = time.After(lookAgain)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-settled:
			return
		case <-again:
			return
		case e := <-events:
			if settled == nil && w.matters(e.Name) {
				settled = time.After(settle)
			}
		case err := <-errs: // events may be lost, so load again
			if settled == nil && err != nil {
				settled = time.After(settle)
			}
		}
	}
}

func (w *watch) close() {
	if w.watcher != nil {
		_ = w.watcher.Close() // it is not used afterwards
	}
}
