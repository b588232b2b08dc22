package admin

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// progress shows on a terminal how much of a transfer is done. The caller writes the transferred data to it. It is safe for
// concurrent use.
type progress struct {
	line  *cli.StatusLine
	what  string
	total int64  // bytes, 0 if unknown
	then  string // what the command waits for after the last byte

	mu    sync.Mutex // the response may arrive before the request is sent
	bytes int64
	lines int64
	next  time.Time // the earliest time of the next line
}

// progressEvery is the shortest time between two lines.
const progressEvery = 200 * time.Millisecond

// newProgress shows progress on out if out is a terminal, and nothing otherwise.
func newProgress(out io.Writer, what string, total int64) *progress {
	return &progress{line: cli.NewStatusLine(out), what: what, total: total}
}

// Write counts transferred data. It never fails.
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

// text returns the current line.
func (p *progress) text() string {
	done := fmt.Sprintf("%d lines, %s", p.lines, megabytes(p.bytes))
	switch {
	case p.total > 0 && p.bytes == p.total && p.then != "":
		done += "; " + p.then
	case p.total > 0:
		done = fmt.Sprintf("%d %%, %s of %s", min(100, 100*p.bytes/p.total), done, megabytes(p.total))
	}
	return p.what + ": " + done
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// end clears the line.
func (p *progress) end() { p.line.Close() }
