package httpapi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// entryDocument is the record of an update as the API shows it.
type entryDocument struct {
	Revision    uint64              `json:"revision"`
	Previous    uint64              `json:"previous"`
	Time        time.Time           `json:"time"`
	Author      string              `json:"author,omitzero"`
	Certificate string              `json:"certificate,omitzero"`
	Changes     []policy.ChangeSpec `json:"changes"`
	Count       int                 `json:"count"`
	Hash        string              `json:"hash"`
}

func entryDocumentOf(e *oplog.Entry) entryDocument {
	return entryDocument{
		Revision: e.Revision, Previous: e.Previous, Time: e.Time,
		Author: e.Author.Principal.String(), Certificate: e.Author.Credential,
		Changes: e.Changes, Count: e.Count, Hash: e.Hash,
	}
}

// feedDocument is a page of changes.
type feedDocument struct {
	Changes []entryDocument `json:"changes"`
	// Revision is the newest that there is, Oldest the first that is kept.
	Revision uint64 `json:"revision"`
	Oldest   uint64 `json:"oldest"`
}

// Bounds of a page, and of the feed.
const (
	defaultPage  = 100
	maxPage      = 1000
	maxPageSpecs = 20_000 // changes in all entries of a page; one entry may hold more
	// heartbeat is how often a quiet feed says that it is alive.
	heartbeat = 15 * time.Second
)

// getChanges answers with what changed after a revision: a page of it, or live.
func (a *adminAPI) getChanges(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r, "after", "last", "limit"); err != nil {
		return err
	}
	limit, err := numberOf(r, "limit", defaultPage, 1, maxPage)
	if err != nil {
		return err
	}
	from, err := a.feedStart(r)
	if err != nil {
		return err
	}
	w.Header().Set("Vary", "Accept")
	if wantsEvents(r.Header.Get("Accept")) {
		return a.stream(w, r, from)
	}
	page, err := a.page(from, int(limit))
	if err != nil {
		return err
	}
	doc := feedDocument{Changes: page, Revision: a.engine.Revision(), Oldest: a.engine.Oldest()}
	w.Header().Set("ETag", a.etag(doc.Revision))
	return writeJSON(w, http.StatusOK, &doc)
}

func wantsEvents(accept string) bool { return strings.Contains(accept, "text/event-stream") }

// feedStart returns the revision after which the request wants the changes. What a client
// says that it has seen last counts for more than where it began.
func (a *adminAPI) feedStart(r *http.Request) (uint64, error) {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		seen, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return 0, queryProblem("Last-Event-ID", "is not a revision")
		}
		return seen, nil
	}
	query := r.URL.Query()
	if query.Has("after") && query.Has("last") {
		return 0, queryProblem("last", "does not go together with after")
	}
	if query.Has("last") {
		last, err := numberOf(r, "last", 0, 0, maxPage)
		newest, oldest := a.engine.Revision(), a.engine.Oldest()
		return max(newest-min(newest, last), max(oldest, 1)-1), err
	}
	return numberOf(r, "after", 0, 0, math.MaxUint64)
}

func numberOf(r *http.Request, name string, otherwise, least, most uint64) (uint64, error) {
	query := r.URL.Query()
	if !query.Has(name) {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(query.Get(name), 10, 64)
	if err != nil || n < least || n > most {
		return 0, queryProblem(name, fmt.Sprintf("is not a number from %d to %d", least, most))
	}
	return n, nil
}

// page reads the changes after a revision, at least one if there is any.
func (a *adminAPI) page(after uint64, limit int) ([]entryDocument, error) {
	page := []entryDocument{}
	specs := 0
	err := a.engine.Changes(after, func(e *oplog.Entry) bool {
		if specs += len(e.Changes); len(page) > 0 && specs > maxPageSpecs {
			return false
		}
		page = append(page, entryDocumentOf(e))
		return len(page) < limit
	})
	if errors.Is(err, oplog.ErrCompacted) {
		return nil, a.compacted(err)
	}
	return page, err
}

// compacted says from where on the changes are kept.
func (a *adminAPI) compacted(cause error) error {
	oldest := a.engine.Oldest()
	p := problem(http.StatusGone, "compacted", "Not kept any more",
		fmt.Sprintf("The changes are kept from revision %d on: read the policy, then the changes after its revision.", oldest))
	p.Members, p.Cause = map[string]any{"oldest": oldest}, cause
	return p
}

// stream sends the changes after a revision as server-sent events, and goes on with those
// to come. Each is read from the log when its turn has come, so that a slow reader holds
// nobody back; one that does not read at all is cut off.
func (a *adminAPI) stream(w http.ResponseWriter, r *http.Request, after uint64) error {
	page, err := a.page(after, defaultPage)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s := &eventStream{w: w, control: http.NewResponseController(w), idle: a.idle}
	for {
		for i := range page {
			if err := s.change(&page[i]); err != nil {
				return err
			}
			after = page[i].Revision
		}
		if len(page) == 0 {
			if err := a.awaitChange(r.Context(), s, after); err != nil {
				return s.end(err)
			}
		}
		if page, err = a.page(after, defaultPage); err != nil {
			return s.end(err)
		}
	}
}

// awaitChange returns when there is a change after the revision.
func (a *adminAPI) awaitChange(ctx context.Context, s *eventStream, after uint64) error {
	for {
		if err := s.send(": \n\n"); err != nil {
			return err
		}
		patience, cancel := context.WithTimeout(ctx, heartbeat)
		err := a.engine.Await(patience, after)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
}

// eventStream writes server-sent events, as the WHATWG's HTML standard describes them.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	idle    time.Duration // how long the reader may take for what was written to it
}

// change sends one entry; its revision is the event's id.
func (s *eventStream) change(e *entryDocument) error {
	text, err := json.Marshal(e, json.Deterministic(true), lenientText)
	if err != nil {
		return err
	}
	return s.send(fmt.Sprintf("id: %d\nevent: change\ndata: %s\n\n", e.Revision, text))
}

// end sends why the stream ends, if the reader is there to hear it.
func (s *eventStream) end(cause error) error {
	p := problemOf(cause)
	ends := errors.Is(cause, actors.ErrClosed) || errors.Is(cause, actors.ErrFault) || errors.Is(cause, oplog.ErrUnavailable)
	if p.Status != http.StatusGone && !ends {
		return cause // the reader is gone, or may not read any more
	}
	end := map[string]any{"type": p.Type, "detail": p.Detail}
	if oldest, ok := p.Members["oldest"]; ok {
		end["oldest"] = oldest
	}
	text, err := json.Marshal(end, json.Deterministic(true))
	if err != nil {
		return err
	}
	return s.send(fmt.Sprintf("event: end\ndata: %s\n\n", text))
}

func (s *eventStream) send(text string) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(s.idle)); err != nil {
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}
