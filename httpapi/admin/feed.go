package admin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// Bounds of a page and of the stream.
const (
	defaultPage  = 100
	maxPage      = 1000
	maxPageSpecs = 20_000 // changes in all entries of a page; a single entry may hold more
	// heartbeat is the longest silence of a stream.
	heartbeat = 15 * time.Second
)

// getChanges answers with the changes after a revision: a page, or a stream.
func (a *api) getChanges(w http.ResponseWriter, r *http.Request) error {
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
		caller, err := a.callers.Identify(r)
		if err != nil {
			return err
		}
		leave, err := enter(a.gates.feeds, caller.Principal)
		if err != nil {
			return err
		}
		defer leave()
		return a.stream(w, r, from)
	}
	page, err := a.page(from, int(limit))
	if err != nil {
		return err
	}
	doc := client.Page{Changes: page, Revision: a.engine.Revision(), Oldest: a.engine.Oldest()}
	w.Header().Set("ETag", a.etag(doc.Revision))
	return web.WriteJSON(w, http.StatusOK, &doc)
}

func wantsEvents(accept string) bool { return strings.Contains(accept, "text/event-stream") }

// feedStart returns the revision after which the feed begins. Last-Event-ID, which a client sends
// when it reconnects, has precedence over the parameters.
func (a *api) feedStart(r *http.Request) (uint64, error) {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		seen, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return 0, queryProblem("Last-Event-ID", "is not a revision")
		}
		return seen, nil
	}
	query := r.URL.Query()
	if query.Has("after") && query.Has("last") {
		return 0, queryProblem("last", "cannot be combined with after")
	}
	if query.Has("last") {
		last, err := numberOf(r, "last", 0, 0, maxPage)
		newest, oldest := a.engine.Revision(), a.engine.Oldest()
		return max(newest-min(newest, last), max(oldest, 1)-1), err
	}
	return numberOf(r, "after", 0, 0, math.MaxUint64)
}

// page reads the changes after a revision, at least one if there is one.
func (a *api) page(after uint64, limit int) ([]client.Entry, error) {
	page := []client.Entry{}
	specs := 0
	err := a.engine.Changes(after, func(e *oplog.Entry) bool {
		if specs += len(e.Changes); len(page) > 0 && specs > maxPageSpecs {
			return false
		}
		page = append(page, entryDocument(e))
		return len(page) < limit
	})
	if errors.Is(err, oplog.ErrCompacted) {
		return nil, a.compacted(err)
	}
	return page, err
}

// compacted answers with the oldest revision that is kept.
func (a *api) compacted(cause error) error {
	oldest := a.engine.Oldest()
	p := web.NewProblem(http.StatusGone, "compacted", "No longer kept",
		fmt.Sprintf("The oldest change is that of revision %d. Read the policy, then the changes after its revision.", oldest))
	p.Members, p.Cause = map[string]any{"oldest": oldest}, cause
	return p
}

// stream sends the changes after a revision, and then each new one, as server-sent events. It
// reads each from the log just before it sends it, so a slow client delays no other. A client
// that does not read is disconnected.
func (a *api) stream(w http.ResponseWriter, r *http.Request, after uint64) error {
	page, err := a.page(after, defaultPage)
	if err != nil {
		return err
	}
	s := &feed{web.NewEventStream(w, a.idle)}
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

// awaitChange blocks until there is a change after the revision.
func (a *api) awaitChange(ctx context.Context, s *feed, after uint64) error {
	for {
		if err := s.Heartbeat(); err != nil {
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

// feed is the event stream of changes.
type feed struct{ *web.EventStream }

// change sends one entry. Its revision is the ID of the event.
func (s *feed) change(e *client.Entry) error {
	return s.Send("change", strconv.FormatUint(e.Revision, 10), e)
}

// end sends why the stream ends, unless the client is gone or lost its right.
func (s *feed) end(cause error) error {
	p := web.ProblemOf(cause)
	ends := errors.Is(cause, actors.ErrClosed) || errors.Is(cause, actors.ErrFault) || errors.Is(cause, oplog.ErrUnavailable)
	if p.Status != http.StatusGone && !ends {
		return cause
	}
	end := client.Problem{Type: p.Type, Detail: p.Detail}
	if oldest, ok := p.Members["oldest"]; ok {
		end.Members = map[string]any{"oldest": oldest}
	}
	return s.Send("end", "", &end)
}
