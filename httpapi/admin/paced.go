package admin

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// paceBlock is how many bytes have to move in the idle time of a transfer.
const paceBlock = 64 << 10

// pacedWriter sends a long answer, and flushes as it writes. The answer may take any time as
// long as each [paceBlock] takes at most the idle time.
type pacedWriter struct {
	w    http.ResponseWriter
	idle time.Duration
}

// Write implements [io.Writer].
func (p *pacedWriter) Write(data []byte) (written int, err error) {
	control := http.NewResponseController(p.w)
	for len(data) > 0 && err == nil {
		block := data[:min(len(data), paceBlock)]
		data = data[len(block):]
		if err = unlessUnsupported(control.SetWriteDeadline(time.Now().Add(p.idle))); err != nil {
			break
		}
		var n int
		n, err = p.w.Write(block)
		written += n
		if err == nil {
			err = control.Flush()
		}
	}
	return written, err
}

// pacedReader reads a long body: each [paceBlock] may take the idle time. It extends the write
// deadline too, because with HTTP/2 that one counts from the start of the request.
type pacedReader struct {
	body    io.Reader
	control *http.ResponseController
	idle    time.Duration
	credit  int   // bytes until the deadline moves
	err     error // the error that ended the body, io.EOF included
}

// Read implements [io.Reader]. It moves no deadline after the end of the body: with HTTP/1.1 the
// server would take an expired one for a client that is gone.
func (p *pacedReader) Read(data []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	if p.credit <= 0 {
		p.credit = paceBlock
		until := time.Now().Add(p.idle)
		if err := unlessUnsupported(p.control.SetReadDeadline(until)); err != nil {
			return 0, err
		}
		if err := unlessUnsupported(p.control.SetWriteDeadline(until.Add(p.idle))); err != nil {
			return 0, err
		}
	}
	n, err := p.body.Read(data)
	p.credit -= n
	p.err = err
	return n, err
}

// broken returns the error that ended the body early, nil if none did.
func (p *pacedReader) broken() error {
	if p.err == io.EOF {
		return nil
	}
	return p.err
}

// unlessUnsupported ignores that a connection has no deadlines: its client cannot block it.
func unlessUnsupported(err error) error {
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}
