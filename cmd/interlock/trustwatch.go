package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/certs"
)

// anew is how often session tickets get another key, if nothing changes.
const anew = 24 * time.Hour

// watch reads everything anew when something changes, and at SIGHUP, and looks at revocation
// lists when one becomes outdated, until ctx is done.
func (t *trust) watch(ctx context.Context, engine *actors.Engine) {
	changes := make(chan struct{}, 1)
	changed := func() {
		select {
		case changes <- struct{}{}:
		default: // it will be looked at all the same
		}
	}
	go t.source.Watch(ctx, changed)
	go certs.WatchFiles(ctx, t.config.RevocationLists, changed)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	day := time.NewTicker(anew)
	defer day.Stop()
	for {
		overdue := t.wait(ctx, changes, hangup, day.C)
		if ctx.Err() != nil {
			return
		}
		changed, err := t.read()
		if err != nil {
			t.log.Error("a file is not usable; certificates, authorities and revocation lists stay as they were", slog.Any("error", err))
		}
		if !changed && !overdue {
			continue
		}
		if err := t.use(ctx, engine); err != nil && ctx.Err() == nil {
			t.log.Error("revocation lists could not be used", slog.Any("error", err))
		}
	}
}

// wait returns when there is something to look at, or ctx is done. It reports whether a list
// has become outdated.
func (t *trust) wait(ctx context.Context, changes <-chan struct{}, hangup <-chan os.Signal, day <-chan time.Time) (overdue bool) {
	next := t.overdue()
	due := time.NewTimer(time.Until(next))
	defer due.Stop()
	if next.IsZero() {
		due.Stop()
	}
	select {
	case <-ctx.Done():
	case <-day:
		t.forget()
	case <-due.C:
		return true
	case <-changes:
	case <-hangup:
	}
	return false
}

// forget has everything taken over anew, although nothing has changed.
func (t *trust) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen = [2][32]byte{}
}
