package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// StatusLine is the last line of a terminal, which each call of Show overwrites. It is safe for concurrent use.
type StatusLine struct {
	// Out is the terminal; nil shows nothing.
	Out io.Writer

	mu     sync.Mutex
	closed bool
}

// NewStatusLine shows status on out if out is a terminal, and does nothing otherwise.
func NewStatusLine(out io.Writer) *StatusLine {
	if !isTerminal(out) {
		out = nil
	}
	return &StatusLine{Out: out}
}

// Show replaces the line.
func (l *StatusLine) Show(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Out != nil && !l.closed {
		fmt.Fprint(l.Out, "\r\x1b[K", text)
	}
}

// Close clears the line. Later calls of Show do nothing.
func (l *StatusLine) Close() {
	l.Show("")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

// isTerminal reports whether out is a character device. That includes /dev/null, where writing does no harm.
func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
