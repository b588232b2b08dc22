package certs

import (
	"context"
	"log/slog"
	"time"
)

// Watch reloads when the source or a file of CRLs changes, replaces the key of session tickets from time to time, and
// revokes the certificates of a CA when its CRL becomes stale. A reload that fails is logged and shows in [Trust.Fault].
// Watch returns when ctx is done, which is how the caller ends it. It must run once.
func (t *Trust) Watch(ctx context.Context) {
	changes := make(chan struct{}, 1)
	changed := func() {
		select {
		case changes <- struct{}{}:
		default: // a reload is pending
		}
	}
	go t.options.Source.Watch(ctx, changed)
	go WatchFiles(ctx, t.options.CRLs, changed)
	rotation := time.NewTicker(t.options.TicketRotation)
	defer rotation.Stop()
	var delay time.Duration // before the next look at stale CRLs, after a failure
	for {
		stale, stop := t.staleTimer(delay)
		var err error
		select {
		case <-ctx.Done():
		case <-rotation.C:
			_, err = t.reload(true)
		case <-changes:
			_, err = t.Reload()
		case <-stale:
			err = t.expire()
		}
		stop()
		if ctx.Err() != nil {
			return
		}
		delay = 0
		if err != nil {
			delay = lookAgain
			t.options.Logger.Error("reload failed; certificates, CAs and CRLs are unchanged", slog.Any("error", err))
		}
	}
}

// staleTimer fires when the next CRL becomes stale, after delay at the earliest, and never if none will.
func (t *Trust) staleTimer(delay time.Duration) (fires <-chan time.Time, stop func() bool) {
	s := t.State()
	next := s.loaded.NextUpdate(s.at)
	if next.IsZero() {
		return nil, func() bool { return true }
	}
	timer := time.NewTimer(max(time.Until(next), delay))
	return timer.C, timer.Stop
}

// expire replaces the state by one in which the CRLs are as they are now.
func (t *Trust) expire() error {
	t.reloading.Lock()
	defer t.reloading.Unlock()
	next := *t.State()
	next.age(time.Now(), t.options.AcceptStaleCRLs)
	return t.publish(&next)
}
