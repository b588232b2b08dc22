package admin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// getLines answers with the whole policy of one revision in lines. It is aborted when the client
// stops reading. No update waits for the client, because the policy is collected before it is
// sent.
func (a *api) getLines(w http.ResponseWriter, r *http.Request) error {
	// Nothing is written while it is collected. After that each block has its own deadline.
	if err := unlessUnsupported(http.NewResponseController(w).SetWriteDeadline(time.Time{})); err != nil {
		return err
	}
	p, err := a.requestedPolicy(r)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", a.etag(p.revision))
	w.Header().Set("Content-Type", client.MediaLines)
	w.Header().Set("Vary", "Accept")
	return policyfile.WriteLines(&pacedWriter{w, a.idle}, p.revision, slices.Values(p.roles), p.grants())
}

// readLines reads a policy in lines as it arrives. It has its own limit, and may take any time as
// long as data arrives.
func (a *api) readLines(w http.ResponseWriter, r *http.Request) (*policyfile.File, error) {
	if err := web.RefuseAnnounced(r, a.linesLimit); err != nil {
		return nil, err
	}
	body := &pacedReader{body: http.MaxBytesReader(w, r.Body, a.linesLimit), control: http.NewResponseController(w), idle: a.idle}
	file, err := policyfile.ReadLines("policy"+policyfile.LinesSuffix, body)
	if err == nil {
		return file, nil
	}
	switch broken := body.broken(); {
	case broken == nil:
		_, _ = io.CopyN(io.Discard, body, web.MaxDrained) // so that the client can read why
		return nil, fmt.Errorf("%w: %w", errPolicyFile, err)
	case errors.Is(broken, os.ErrDeadlineExceeded):
		return nil, broken
	default:
		if _, tooLarge := errors.AsType[*http.MaxBytesError](broken); tooLarge {
			return nil, broken
		}
		return nil, &web.BodyError{Offset: -1, Detail: "ends early: " + err.Error()}
	}
}
