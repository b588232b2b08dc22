package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Bounds of a policy in lines on its way, unless options say otherwise.
const (
	DefaultLinesLimit = 4 << 30
	DefaultIdle       = 30 * time.Second
)

// getLines answers with the whole policy in lines, as it is at one revision. It is an
// operation like any other: when its caller loses the right to read, it is broken off, and
// so it is when the client does not take on. Nobody waits for the client: what is sent was
// gathered before.
func (a *adminAPI) getLines(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r, "at"); err != nil {
		return err
	}
	// Nothing is written while it is gathered; each block has a deadline of its own then.
	if err := unlessUnsupported(http.NewResponseController(w).SetWriteDeadline(time.Time{})); err != nil {
		return err
	}
	p, err := a.askedPolicy(r)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", a.etag(p.revision))
	w.Header().Set("Content-Type", policy.LinesMedia)
	w.Header().Set("Vary", "Accept")
	return policy.WriteLines(&pacedWriter{w, a.idle}, p.revision, slices.Values(p.roles), p.grants())
}

// readLines reads a policy in lines from the body as it comes. It has a limit of its own,
// and all the time that it needs as long as it comes on.
func (a *adminAPI) readLines(w http.ResponseWriter, r *http.Request) (*policy.File, error) {
	if err := refuseAnnounced(r, a.linesLimit); err != nil {
		return nil, err
	}
	body := &pacedReader{body: http.MaxBytesReader(w, r.Body, a.linesLimit), control: http.NewResponseController(w), idle: a.idle}
	file, err := policy.ReadLines("policy"+policy.LinesSuffix, body)
	switch broken := body.broken(); {
	case err == nil:
		return file, nil
	case isA[*http.MaxBytesError](broken), errors.Is(broken, os.ErrDeadlineExceeded):
		return nil, broken
	case broken != nil:
		return nil, &bodyError{Offset: -1, Detail: "breaks off: " + err.Error()}
	}
	_, _ = io.CopyN(io.Discard, body, mostDrained) // so that the client gets to read why
	return nil, fmt.Errorf("%w: %w", errPolicyFile, err)
}
