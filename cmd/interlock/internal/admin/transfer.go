package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/interlock-authz/interlock/certs/atomicfile"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// modePrivate is the mode of files that only their owner may read.
const modePrivate fs.FileMode = 0o600

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
var errStalled = errors.New("transfer stalled")

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
		return cli.Hint(cause, "--timeout says how long to wait")
	default:
		return errors.New("interrupted")
	}
}

// fillFile writes a file that appears whole or not at all, in place of an existing one, with mode 0600.
func fillFile(path string, fill func(io.Writer) error) error {
	f, err := atomicfile.New(path, modePrivate)
	if err != nil {
		return err
	}
	defer f.Discard()
	buffered := bufio.NewWriterSize(f, 256<<10)
	if err := fill(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	return f.Commit()
}
