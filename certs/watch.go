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
	// settle is how long files are left alone after one has changed: whoever writes several does not write them at once.
	settle = 100 * time.Millisecond
	// lookAgain is how often files are looked at that cannot be watched.
	lookAgain = 5 * time.Second
)

// WatchFiles calls changed when it has begun to watch, for what came before it would not see, and then, a moment
// after, when one of the files changes, or one in a folder among them, or a link leads elsewhere: the file, a folder
// above it, or the link ..data beside it, which those turn who mount secrets. What cannot be watched (a folder that
// is not there at the moment, say) is taken for changed every 5 seconds. Without paths it only waits. It returns when
// ctx is done.
func WatchFiles(ctx context.Context, paths []string, changed func()) {
	for ctx.Err() == nil && len(paths) > 0 {
		w := newWatch(paths)
		changed()
		w.await(ctx)
		w.close()
	}
	<-ctx.Done()
}

// watch waits for one change. Each change has its own, since links may lead elsewhere by then.
type watch struct {
	watcher *fsnotify.Watcher // nil if there can be none
	names   []string          // that matter
	folders []string          // everything in which matters
	blind   bool              // to some of it
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
			w.follow(filepath.Join(in, filepath.Base(path))) // the name by which an event may come
		}
		if leads, err := filepath.EvalSymlinks(path); err != nil {
			w.blind = true
		} else {
			w.follow(leads)
		}
	}
	return w
}

// follow watches a name, what is in it if it is a folder, the link beside it that those turn who mount secrets, and the
// folders above it, as far as they can be watched.
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
		_ = w.watcher.Add(above) // it may be closed to us, and matters only when a folder is exchanged
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

// await returns when something that matters has changed and settled, or ctx is done.
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
		case err := <-errs: // events may have been lost: it is as if everything had changed
			if settled == nil && err != nil {
				settled = time.After(settle)
			}
		}
	}
}

func (w *watch) close() {
	if w.watcher != nil {
		_ = w.watcher.Close() // nothing is read from it any more
	}
}
