package leases

import (
	"net/http"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// idle bounds the time in which a client reads an event.
const idle = 10 * time.Second

// getEvents streams what happens to the leases of a session. It begins with a snapshot, so that
// nothing is lost between two streams.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) error {
	caller, err := s.callers.Identify(r)
	if err != nil {
		return err
	}
	name := r.URL.Query().Get("session")
	if !isSession(name) {
		return web.NewProblem(http.StatusBadRequest, "query", "Bad query", "session is not 1 to 64 of the characters A-Z a-z 0-9 _ - .")
	}
	if isDone(s.closed) {
		return actors.ErrClosed
	}
	if s.engine.Ended(caller.Credential) {
		return endedCredential()
	}
	st := newStream()
	h := s.holderOf(caller.Principal)
	var session *session
	if h.mayIdle(name) {
		session = h.join(name)
	}
	if session == nil {
		h.mu.Unlock()
		return errTooMany()
	}
	all := session.open(st)
	h.mu.Unlock()
	s.counts.streams.Add(1)
	defer func() {
		session.shut(st)
		s.counts.streams.Add(-1)
	}()
	return s.stream(r, web.NewEventStream(w, idle), st, all, caller)
}

// stream sends the snapshot and then the events, until the client is gone, its certificate has
// ended, another stream of the session begins, or the server closes.
func (s *Server) stream(r *http.Request, out *web.EventStream, st *stream, all []*lease, caller *httpapi.Caller) error {
	if err := out.Send(client.EventSnapshot, "", snapshot(all)); err != nil {
		return err
	}
	beat := time.NewTicker(client.LeaseHeartbeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case <-st.wake:
			for _, l := range st.take() {
				if err = queue(out, l); err != nil {
					return err
				}
			}
			err = out.Flush()
		case <-beat.C:
			if s.engine.Ended(caller.Credential) {
				return end(out, endedCredential())
			}
			err = out.Heartbeat()
		case <-st.replaced:
			return end(out, web.NewProblem(http.StatusConflict, "replaced", "Replaced", "Another stream of this session has begun."))
		case <-s.closed:
			return end(out, actors.ErrClosed)
		case <-r.Context().Done():
			return r.Context().Err()
		}
		if err != nil {
			return err
		}
	}
}

func endedCredential() error {
	return web.NewProblem(http.StatusUnauthorized, "credential-ended", "The certificate has ended",
		"The certificate has expired or was revoked. Connect again with another one.")
}

func snapshot(all []*lease) *client.LeaseSnapshot {
	doc := &client.LeaseSnapshot{Leases: make([]client.LeaseEvent, 0, len(all))}
	for _, l := range all {
		if e, ok := l.event(); ok {
			doc.Leases = append(doc.Leases, e)
		}
	}
	return doc
}

// queue tells what a lease is now. An event that comes late is still true.
func queue(out *web.EventStream, l *lease) error {
	e, ok := l.event()
	switch {
	case !ok, e.State == client.LeaseLive: // it moved to another certificate meanwhile
		return nil
	case e.State == client.LeaseRevoked:
		return out.Queue(client.EventRevoked, "", &e)
	}
	return out.Queue(client.EventEnded, "", &e)
}

// end tells why the stream ends.
func end(out *web.EventStream, cause error) error {
	p := web.ProblemOf(cause)
	return out.Send(client.EventEnd, "", &client.Problem{Type: p.Type, Title: p.Title, Status: p.Status, Detail: p.Detail})
}
