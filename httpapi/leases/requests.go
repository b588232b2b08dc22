package leases

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/question"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

func (s *Server) deleteLease(w http.ResponseWriter, r *http.Request) error {
	caller, err := s.callers.Identify(r)
	if err != nil {
		return err
	}
	x, err := idIn(r)
	if err != nil {
		return err
	}
	if err := s.release(caller, x); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// release ends a lease of the caller. It remembers an ID that is not known, so that a PUT which
// arrives later acquires nothing.
func (s *Server) release(caller *httpapi.Caller, x id) error {
	h := s.holderOf(caller.Principal)
	if found, ok := s.byID.Load(x); ok {
		if l := found.(*lease); l.holder == h {
			h.mu.Unlock()
			l.end(actors.HowReleased)
			return nil
		}
	}
	defer h.mu.Unlock()
	if h.remembers(x) {
		return nil
	}
	if !h.mayRemember() {
		return errTooMany()
	}
	h.remember(x)
	return nil
}

// getLease answers the holder, and callers that may read leases.
func (s *Server) getLease(w http.ResponseWriter, r *http.Request) error {
	caller, err := s.callers.Identify(r)
	if err != nil {
		return err
	}
	x, err := idIn(r)
	if err != nil {
		return err
	}
	found, ok := s.byID.Load(x)
	if l, _ := found.(*lease); !ok || l.holder.who != caller.Principal {
		ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
		defer cancel()
		err := web.Authorize(ctx, s.engine, caller.Request(control.ActionRead, control.ResourceLeases))
		switch {
		case ok && err != nil && errors.Is(err, actors.ErrDenied):
			ok = false // it answers as if there were no such lease
		case err != nil && !errors.Is(err, actors.ErrDenied):
			return err
		}
	}
	if ok {
		l := found.(*lease)
		state, remaining, _ := l.look()
		if state == live || state == revoked {
			doc := l.status(state, remaining)
			return web.WriteJSON(w, http.StatusOK, &doc)
		}
	}
	return web.NewProblem(http.StatusNotFound, "no-lease", "No such lease",
		"No lease of this ID is live, or the caller may not see it.")
}

func (l *lease) status(s state, remaining time.Duration) client.LeaseStatus {
	doc := client.LeaseStatus{
		Lease: l.id.String(), Holder: l.holder.who.String(), Principal: l.request.Principal.String(), Action: l.request.Action,
		Resource: l.request.Resource, Revision: l.revision, State: client.LeaseLive, Remaining: seconds(remaining),
	}
	if s == revoked {
		doc.State = client.LeaseRevoked
	}
	return doc
}

// moving bounds how long a renewal waits for the engine, to move leases to another certificate. It
// is shorter than the time in which a client needs the answer.
const moving = 250 * time.Millisecond

// renewal reads a [client.Renewal], and releases a [client.Releases].
type (
	renewal struct {
		Session string `json:"session"`
		Leases  []id   `json:"leases"`
	}
	releases struct {
		Leases []id `json:"leases"`
	}
)

// readList reads a body with a list of leases.
func readList(w http.ResponseWriter, r *http.Request, into any, list *[]id) error {
	if err := web.ReadJSON(w, r, maxList, into, web.KnownMembersOnly); err != nil {
		return err
	}
	if len(*list) > client.MaxRenewed {
		return question.Unusable("/leases", fmt.Sprintf("has more than %d elements; name the others in another request", client.MaxRenewed))
	}
	return nil
}

// postRelease releases several leases, each as DELETE does.
func (s *Server) postRelease(w http.ResponseWriter, r *http.Request) error {
	caller, err := s.callers.Identify(r)
	if err != nil {
		return err
	}
	var asked releases
	if err := readList(w, r, &asked, &asked.Leases); err != nil {
		return err
	}
	for _, x := range asked.Leases {
		if err := s.release(caller, x); err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// postRenew renews leases of a session. The time counts from the moment at which the request
// arrived, before its body.
func (s *Server) postRenew(w http.ResponseWriter, r *http.Request) error {
	received := time.Now()
	caller, err := s.callers.Identify(r)
	if err != nil {
		return err
	}
	if s.isClosing() {
		return actors.ErrClosed
	}
	var asked renewal
	if err := readList(w, r, &asked, &asked.Leases); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(s.timeout, moving))
	defer cancel()
	answer := client.Renewed{States: make([]string, len(asked.Leases))}
	for i, l := range s.leasesOf(caller.Principal, asked.Session, asked.Leases) {
		state, grace, err := s.renew(ctx, caller, l, received)
		if err != nil {
			return err
		}
		answer.States[i] = renewalStates[state]
		if grace > 0 {
			if answer.Graces == nil {
				answer.Graces = map[string]float64{}
			}
			answer.Graces[l.id.String()] = seconds(grace)
		}
	}
	return web.WriteJSON(w, http.StatusOK, &answer)
}

var renewalStates = [...]string{
	acquiring: client.LeaseEnded, live: client.LeaseRenewed, revoked: client.LeaseRevoked, ended: client.LeaseEnded,
}

// leasesOf finds leases of a session by their IDs, nil for one that the session does not have.
func (s *Server) leasesOf(who policy.Principal, name string, ids []id) []*lease {
	found := make([]*lease, len(ids))
	h := s.holderOf(who)
	defer h.mu.Unlock()
	if session := h.sessions[name]; session != nil {
		for i, x := range ids {
			found[i] = session.leases[x]
		}
	}
	return found
}

// renew renews one lease; nil is one that has ended.
func (s *Server) renew(ctx context.Context, caller *httpapi.Caller, l *lease, received time.Time) (state, time.Duration, error) {
	if l == nil {
		return ended, 0, nil
	}
	if !l.standsOn(caller.Credential) {
		if err := s.rotate(ctx, caller, l); err != nil {
			return 0, 0, err
		}
	}
	state, grace := l.renew(received)
	if state == live {
		s.counts.renewed.Add(1)
	}
	return state, grace, nil
}

// rotate moves a lease to the credential of the caller's connection. The error is that of a
// credential that has ended. Otherwise a lease that cannot be moved stays on the old credential: the
// next renewal tries again. If the policy denies the request, it has revoked the lease too, or is
// about to.
func (s *Server) rotate(ctx context.Context, caller *httpapi.Caller, l *lease) error {
	if state, _, _ := l.look(); state != live {
		return nil
	}
	a, err := s.ask(ctx, caller, l.request)
	if denied, ok := errors.AsType[*actors.DeniedError](err); ok {
		switch denied.Decision.Reason {
		case policy.ReasonCredentialExpired, policy.ReasonCredentialRevoked:
			return err
		}
	}
	if err != nil {
		return nil
	}
	if !l.move(a) {
		a.release(actors.HowReleased)
		return nil
	}
	l.watch(a)
	return nil
}
