package httpapi

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// paceBlock is how much has to get through in the idle time of a transfer.
const paceBlock = 64 << 10

// pacedWriter sends an answer that may be long, and flushes as it goes. It has all the
// time that it needs as long as its reader takes on: each [paceBlock] has the idle time.
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

// pacedReader reads a body that may be long: each [paceBlock] has the idle time. The
// answer to it is given time as well, for with HTTP/2 its deadline counts from the start.
type pacedReader struct {
	body    io.Reader
	control *http.ResponseController
	idle    time.Duration
	credit  int   // how much may still come before the deadline is moved
	err     error // the end of the body, whichever
}

// Read implements [io.Reader]. Behind the end of the body no deadline is moved: with
// HTTP/1.1 it would count as the client's leaving when it passes.
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

// broken returns why the body did not come to its end, nil if it did or may yet.
func (p *pacedReader) broken() error {
	if p.err == io.EOF {
		return nil
	}
	return p.err
}

// unlessUnsupported passes over that a connection has no deadlines: it cannot be blocked by
// its client then.
func unlessUnsupported(err error) error {
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}
