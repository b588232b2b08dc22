package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/certs"
)

// lists are the server's revocation lists, and the watch over their files.
type lists struct {
	paths       []string
	accept      bool // outdated ones
	authorities *certs.Authorities
	log         *slog.Logger

	mu       sync.Mutex
	now      *certs.RevocationLists
	seen     [sha256.Size]byte // of the files, as they were read last
	broken   error             // why the files are not what is in use
	outdated []string          // authorities whose list should have been followed by another
}

// What becomes of the certificates of an authority whose list is outdated.
const (
	refuseOutdated = "refuse"
	acceptOutdated = "accept"
)

// newLists reads the lists; a server does not start with one that is not usable.
func newLists(c *tlsConfig, a *certs.Authorities) (*lists, error) {
	l := &lists{paths: c.RevocationLists, accept: c.OutdatedLists == acceptOutdated, authorities: a}
	return l, l.read()
}

// read reads the files, and leaves everything as it was if one is not usable.
func (l *lists) read() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	digest, err := digestOf(l.paths)
	if err == nil && l.now != nil && digest == l.seen {
		l.broken = nil
		return nil
	}
	var next *certs.RevocationLists
	if err == nil {
		next, err = certs.LoadRevocationLists(l.authorities, l.now, l.paths...)
	}
	l.broken = err
	if err == nil {
		l.now, l.seen = next, digest
	}
	return err
}

// digestOf tells files that have changed from those that have not.
func digestOf(paths []string) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return sum, err
		}
		one := sha256.Sum256(text)
		h.Write(one[:])
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// fault is what an operator should know.
func (l *lists) fault() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	if l.broken != nil {
		errs = append(errs, fmt.Errorf("revocation lists are as they were before: %w", l.broken))
	}
	for _, issuer := range l.outdated {
		errs = append(errs, fmt.Errorf("the revocation list of %.120q is outdated", issuer))
	}
	return errors.Join(errs...)
}

// patienceForLists bounds the wait until nothing runs any more that lists have revoked.
const patienceForLists = time.Minute

// use has the engine look at the lists, as they are at this moment.
func (l *lists) use(ctx context.Context, engine *actors.Engine) error {
	if len(l.paths) == 0 {
		return nil
	}
	l.mu.Lock()
	now, outdated := l.now.At(time.Now())
	fresh := !slices.Equal(outdated, l.outdated)
	l.outdated = outdated
	if l.accept {
		now = l.now
	}
	l.mu.Unlock()
	if fresh && len(outdated) > 0 {
		l.log.Error("revocation lists are outdated", slog.Any("issuers", outdated), slog.Bool("refused", !l.accept))
	}
	ctx, cancel := context.WithTimeout(ctx, patienceForLists)
	defer cancel()
	r, err := engine.UseLists(ctx, now)
	if errors.Is(err, actors.ErrNotQuiesced) {
		l.log.Warn("operations of revoked certificates run still", slog.Int("count", r.RunningCount))
		return nil
	}
	if err == nil {
		l.log.Info("revocation lists are in use", slog.Int("entries", now.Len()), slog.Int("ended", r.EndedCount))
	}
	return err
}

// settle is how long files have to be left alone before they are read: whoever writes
// several does not write them at once.
const settle = 100 * time.Millisecond

// watch reads the lists anew when their files change, at SIGHUP, and looks at them when one
// becomes outdated, until ctx is done.
func (l *lists) watch(ctx context.Context, engine *actors.Engine) error {
	if len(l.paths) == 0 {
		return nil
	}
	files, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching revocation lists: %w", err)
	}
	defer func() { _ = files.Close() }()
	for _, path := range l.paths {
		// The folder sees a file that is replaced, and a link that is turned elsewhere.
		if err := files.Add(filepath.Dir(path)); err != nil {
			return fmt.Errorf("watching revocation lists: %w", err)
		}
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		if err := l.wait(ctx, files, hangup); err != nil {
			return nil
		}
		if err := l.read(); err != nil {
			l.log.Error("a revocation list is not usable; those before stay in use", slog.Any("error", err))
			continue
		}
		if err := l.use(ctx, engine); err != nil && ctx.Err() == nil {
			l.log.Error("revocation lists could not be used", slog.Any("error", err))
		}
	}
}

// wait returns when there is something to look at.
func (l *lists) wait(ctx context.Context, files *fsnotify.Watcher, hangup <-chan os.Signal) error {
	l.mu.Lock()
	next := l.now.NextUpdate()
	l.mu.Unlock()
	quiet := time.NewTimer(time.Until(next))
	defer quiet.Stop()
	if next.IsZero() || !next.After(time.Now()) {
		quiet.Stop() // it is known to be outdated
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-hangup:
			return nil
		case <-quiet.C:
			return nil
		case <-files.Events:
			quiet.Reset(settle)
		case err := <-files.Errors:
			l.log.Warn("watching revocation lists", slog.Any("error", err))
		}
	}
}
