package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// transfer is a long way of a policy: it goes on for as long as something moves, and ends
// with its context.
type transfer struct {
	*progress
	ctx    context.Context
	cancel context.CancelFunc
	idle   time.Duration
	timer  *time.Timer
}

// noTimeout is for what no other side holds up.
const noTimeout = 1<<63 - 1

// errStalled ends a transfer that nothing moves in.
var errStalled = errors.New("nothing moves any more")

// newTransfer starts a transfer that may stand still for so long. It has to be ended.
func newTransfer(ctx context.Context, p *progress, idle time.Duration) *transfer {
	ctx, cancel := context.WithCancelCause(ctx)
	t := &transfer{progress: p, ctx: ctx, cancel: func() { cancel(nil) }, idle: idle}
	t.timer = time.AfterFunc(idle, func() { cancel(fmt.Errorf("%w: nothing was sent or received for %v", errStalled, idle)) })
	return t
}

// end ends the transfer, and the line that shows how far it is.
func (t *transfer) end() {
	t.timer.Stop()
	t.cancel()
	t.progress.end()
}

// Write takes in what was transferred.
func (t *transfer) Write(data []byte) (int, error) {
	if err := t.ctx.Err(); err != nil {
		return 0, err
	}
	t.timer.Reset(t.idle)
	return t.progress.Write(data)
}

// explain says why a transfer failed, if its context knows better.
func (t *transfer) explain(err error) error {
	switch cause := context.Cause(t.ctx); {
	case err == nil || cause == nil:
		return err
	case errors.Is(cause, errStalled):
		return hint(cause, "--timeout says how long to wait")
	default:
		return errors.New("interrupted")
	}
}

// fillFile writes a file that appears whole or not at all, in place of one that is there,
// readable by its owner alone.
func fillFile(path string, fill func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already after a rename
	buffered := bufio.NewWriterSize(f, 256<<10)
	err = fill(buffered)
	if err == nil {
		err = errors.Join(buffered.Flush(), f.Sync())
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
