package admin

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// progress tells somebody who looks at a terminal how far a transfer of lines is. What is
// transferred is written to it.
type progress struct {
	line  *cli.StatusLine
	what  string
	total int64  // bytes, 0 if it is not known
	then  string // what is waited for when all of them were transferred

	mu    sync.Mutex // a request may still be sent when it is answered
	bytes int64
	lines int64
	next  time.Time // when to show it again
}

// progressEvery is how often progress is shown.
const progressEvery = 200 * time.Millisecond

// newProgress shows progress on out if that is a terminal, else nothing.
func newProgress(out io.Writer, what string, total int64) *progress {
	return &progress{line: cli.NewStatusLine(out), what: what, total: total}
}

// Write takes in what was transferred. It never fails.
func (p *progress) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += int64(len(data))
	p.lines += int64(bytes.Count(data, []byte{'\n'}))
	if now := time.Now(); !now.Before(p.next) || p.bytes == p.total {
		p.next = now.Add(progressEvery)
		p.line.Show(p.text())
	}
	return len(data), nil
}

// text says how far it is.
func (p *progress) text() string {
	far := fmt.Sprintf("%d lines, %s", p.lines, megabytes(p.bytes))
	switch {
	case p.total > 0 && p.bytes == p.total && p.then != "":
		far += "; " + p.then
	case p.total > 0:
		far = fmt.Sprintf("%d %%, %s of %s", min(100, 100*p.bytes/p.total), far, megabytes(p.total))
	}
	return p.what + ": " + far
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// end takes the line away.
func (p *progress) end() { p.line.Close() }
