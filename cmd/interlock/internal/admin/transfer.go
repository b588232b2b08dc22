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

// transfer is the context and the progress of a policy that is read or sent as a stream. The caller writes the transferred
// data to it. It is canceled if no data arrives for the time idle.
type transfer struct {
	*progress
	ctx    context.Context
	cancel context.CancelFunc
	idle   time.Duration
	timer  *time.Timer
}

// noTimeout is the idle time of a local file.
const noTimeout = 1<<63 - 1

// errStalled is the cause of a transfer that was canceled because no data arrived.
var errStalled = errors.New("transfer stalled")

// newTransfer starts a transfer. The caller ends it with end.
func newTransfer(ctx context.Context, p *progress, idle time.Duration) *transfer {
	ctx, cancel := context.WithCancelCause(ctx)
	t := &transfer{progress: p, ctx: ctx, cancel: func() { cancel(nil) }, idle: idle}
	t.timer = time.AfterFunc(idle, func() { cancel(fmt.Errorf("%w: nothing was sent or received for %v", errStalled, idle)) })
	return t
}

// end cancels the context and clears the progress.
func (t *transfer) end() {
	t.timer.Stop()
	t.cancel()
	t.progress.end()
}

// Write counts transferred data. It returns the error of the context if that is done.
func (t *transfer) Write(data []byte) (int, error) {
	if err := t.ctx.Err(); err != nil {
		return 0, err
	}
	t.timer.Reset(t.idle)
	return t.progress.Write(data)
}

// explain replaces the error of a transfer that was canceled by the cause.
func (t *transfer) explain(err error) error {
	switch cause := context.Cause(t.ctx); {
	case err == nil || cause == nil:
		return err
	case errors.Is(cause, errStalled):
		return cli.Hint(cause, "--timeout sets how long to wait")
	default:
		return errors.New("interrupted")
	}
}

// fillFile writes a file with mode 0600 and replaces an existing one. If fill fails, it leaves the existing file as it is.
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
