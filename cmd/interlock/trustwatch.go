package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/interlock-authz/interlock/actors"
)

const (
	// settle is how long files are left alone after one has changed: whoever writes several
	// does not write them at once.
	settle = 100 * time.Millisecond
	// anew is how often session tickets get another key, if nothing changes.
	anew = 24 * time.Hour
)

// watch reads everything anew when a file changes, and at SIGHUP, and looks at revocation
// lists when one becomes outdated, until ctx is done.
func (t *trust) watch(ctx context.Context, engine *actors.Engine) error {
	files, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching certificates: %w", err)
	}
	defer func() { _ = files.Close() }()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		if t.wait(ctx, files, t.follow(files), hangup) != nil {
			return nil
		}
		if err := t.read(); err != nil {
			t.log.Error("a file is not usable; certificates, authorities and revocation lists stay as they were", slog.Any("error", err))
			continue
		}
		if err := t.use(ctx, engine); err != nil && ctx.Err() == nil {
			t.log.Error("revocation lists could not be used", slog.Any("error", err))
		}
	}
}

// follow watches the folders of all files, anew since links may lead elsewhere by now. It
// returns the names whose changes matter. What cannot be watched is read anew at SIGHUP.
func (t *trust) follow(files *fsnotify.Watcher) (names []string) {
	for _, path := range t.files() {
		folder := filepath.Dir(path)
		// Who mounts files by links turns one link for all: ..data beside them, as Kubernetes
		// does it, or the folder itself.
		names = append(names, filepath.Clean(path), filepath.Join(folder, "..data"), folder)
		if err := files.Add(folder); err != nil {
			t.log.Warn("changes of certificates are not seen here", slog.String("folder", folder), slog.Any("error", err))
		}
		_ = files.Add(filepath.Dir(folder)) // it may be closed to us, and is of use only where the folder is a link
	}
	return names
}

// wait returns when there is something to look at.
func (t *trust) wait(ctx context.Context, files *fsnotify.Watcher, names []string, hangup <-chan os.Signal) error {
	next := t.current().lists.NextUpdate()
	due := time.NewTimer(time.Until(next))
	defer due.Stop()
	if next.IsZero() || !next.After(time.Now()) {
		due.Stop() // there is none, or it is known to be outdated
	}
	changed := time.NewTimer(anew)
	defer changed.Stop()
	for pending := false; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-hangup:
			return nil
		case <-due.C:
			return nil
		case <-changed.C:
			if !pending {
				t.forget() // the day is over
			}
			return nil
		case e := <-files.Events:
			if !pending && slices.Contains(names, filepath.Clean(e.Name)) {
				pending = true
				changed.Reset(settle)
			}
		case err := <-files.Errors:
			t.log.Warn("watching certificates", slog.Any("error", err))
		}
	}
}

// forget has everything read anew, although nothing has changed.
func (t *trust) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.seen[:])
}
