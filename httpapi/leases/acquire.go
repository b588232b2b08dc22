package leases

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/question"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// asked reads the body of a PUT. It differs from [client.LeaseRequest] as [question.Evaluation]
// does from [client.Evaluation].
type asked struct {
	question.Evaluation
	TTL     *float64 `json:"ttl"`
	Session string   `json:"session"`
}

// wanted is a lease that a caller asks for.
type wanted struct {
	id      id
	session string
	ttl     time.Duration
	request actors.Request
	size    int
}

func (s *Server) putLease(w http.ResponseWriter, r *http.Request) error {
	caller, err := s.callers.Identify(r)
	if err != nil {
		return err
	}
	want, err := s.readWanted(w, r, caller)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	defer cancel()
	l, status, err := s.acquire(ctx, caller, want)
	if err != nil {
		if errors.Is(err, actors.ErrDenied) {
			s.counts.denied.Add(1)
		}
		return err
	}
	return web.WriteJSON(w, status, &client.LeaseGrant{
		Lease: l.id.String(), Principal: l.request.Principal.String(), Revision: l.revision, TTL: l.ttl.Seconds(),
	})
}

// idIn returns the ID in the path of a request.
func idIn(r *http.Request) (id, error) {
	x, ok := parseID(mux.Vars(r)["lease"])
	if !ok {
		return x, malformedID()
	}
	return x, nil
}

func (s *Server) readWanted(w http.ResponseWriter, r *http.Request, caller *httpapi.Caller) (*wanted, error) {
	x, err := idIn(r)
	if err != nil {
		return nil, err
	}
	data, err := web.ReadJSONBody(w, r, maxBody)
	if err != nil {
		return nil, err
	}
	var a asked
	if err := web.ParseJSON(data, &a); err != nil {
		return nil, err
	}
	if err := a.Check("", "ttl", "session"); err != nil {
		return nil, err
	}
	if !isSession(a.Session) {
		return nil, question.Unusable("/session", "is not 1 to 64 of the characters A-Z a-z 0-9 _ - .")
	}
	ttl := min(client.DefaultLeaseTTL, s.maxTTL)
	if a.TTL != nil {
		if *a.TTL < client.MinLeaseTTL.Seconds() || *a.TTL > s.maxTTL.Seconds() {
			return nil, question.Unusable("/ttl", fmt.Sprintf("is not between %v and %v seconds", client.MinLeaseTTL.Seconds(), s.maxTTL.Seconds()))
		}
		ttl = time.Duration(*a.TTL * float64(time.Second))
	}
	if a.Subject == nil {
		a.Subject = question.Principal(caller.Principal)
	}
	req, err := a.Request()
	if err != nil {
		return nil, err
	}
	return &wanted{id: x, session: a.Session, ttl: ttl, request: req, size: len(data)}, nil
}

// acquire admits a lease, or finds the one that the same request has acquired. The status is 201
// or 200.
func (s *Server) acquire(ctx context.Context, caller *httpapi.Caller, want *wanted) (*lease, int, error) {
	for {
		l, fresh, err := s.place(caller, want)
		if err != nil {
			return nil, 0, err
		}
		if fresh {
			err := s.admit(ctx, caller, l)
			return l, http.StatusCreated, err
		}
		select {
		case <-l.ready:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
		if l.refused != nil {
			continue // ask again: it was not acquired
		}
		switch state, _, _ := l.look(); {
		case s.engine.Ended(caller.Credential):
			return nil, 0, endedCredential()
		case state == ended:
			return nil, 0, errEnded()
		case !l.isHeld():
			return nil, 0, actors.ErrRevoked
		case !l.isFor(want):
			return nil, 0, web.NewProblem(http.StatusConflict, "lease-differs", "Another lease",
				"The ID names a lease that was acquired by another request. Choose 128 random bits for each lease.")
		}
		return l, http.StatusOK, nil
	}
}

// isFor reports whether the request that acquired the lease was the same.
func (l *lease) isFor(want *wanted) bool {
	a, b := &l.request, &want.request
	return l.ttl == want.ttl && l.session.name == want.session && a.Principal == b.Principal && a.Action == b.Action &&
		a.Resource == b.Resource && reflect.DeepEqual(a.Properties, b.Properties)
}

func errEnded() error {
	return web.NewProblem(http.StatusConflict, "lease-ended", "The lease has ended",
		"A lease with this ID was released or has expired. Acquire another one, with another ID.")
}

// place makes a place for a lease that is to be acquired, or finds the lease of that ID.
func (s *Server) place(caller *httpapi.Caller, want *wanted) (l *lease, fresh bool, err error) {
	h := s.holderOf(caller.Principal)
	defer h.mu.Unlock()
	if found, ok := s.byID.Load(want.id); ok {
		if l := found.(*lease); l.holder == h {
			return l, false, nil
		}
		return nil, false, actors.ErrDenied
	}
	if h.remembers(want.id) {
		return nil, false, errEnded()
	}
	if !h.hasRoomFor(want.size) {
		return nil, false, errTooMany()
	}
	l = &lease{id: want.id, holder: h, ttl: want.ttl, request: want.request, size: want.size, ready: make(chan struct{})}
	if l.session = h.join(want.session); l.session == nil {
		return nil, false, errTooMany()
	}
	ok, err := s.enter()
	if err == nil && !ok {
		err = errTooMany()
	}
	if err != nil {
		h.leaveSession(l.session)
		return nil, false, err
	}
	if _, taken := s.byID.LoadOrStore(want.id, l); taken {
		s.left()
		h.leaveSession(l.session)
		return nil, false, actors.ErrDenied
	}
	h.add(l)
	return l, true, nil
}

func errTooMany() error {
	return web.NewProblem(http.StatusServiceUnavailable, "too-many-leases", "Too many leases",
		"The caller, or the server, has as many leases or sessions as it may, or too many leases ended in the last minute. Release some, or try again later.")
}

// admit asks the engine to admit a placed lease. A lease that it does not admit leaves its place.
func (s *Server) admit(ctx context.Context, caller *httpapi.Caller, l *lease) error {
	defer close(l.ready)
	err := s.mark.set(s.maxTTL)
	if err != nil {
		err = fmt.Errorf("%w: %w", actors.ErrFault, err)
	}
	var a admission
	if err == nil {
		a, err = s.ask(ctx, caller, l.request)
	}
	if err != nil {
		l.refused = err
		l.holder.drop(l)
		return err
	}
	l.revision, _ = actors.RevisionOf(a.own.Context())
	if !l.admit(a) {
		a.release(actors.HowReleased)
		return errEnded()
	}
	l.watch(a)
	s.counts.acquired.Add(1)
	return nil
}

// ask asks the engine for what a lease stands on.
func (s *Server) ask(ctx context.Context, caller *httpapi.Caller, req actors.Request) (admission, error) {
	a := admission{credential: caller.Credential}
	var err error
	if req.Principal == caller.Principal {
		req.Credential = caller.Credential
	} else {
		right := caller.Request(control.ActionLease, control.PrincipalResource(req.Principal))
		if a.holder, err = s.engine.AdmitDetached(ctx, right); err != nil {
			return admission{}, err
		}
	}
	if a.own, err = s.engine.AdmitDetached(ctx, req); err != nil {
		a.release(actors.HowReleased)
		return admission{}, err
	}
	if a.holder != nil && !actors.HasAuthority(a.holder.Context()) {
		a.release(actors.HowReleased)
		return admission{}, actors.ErrRevoked
	}
	return a, nil
}
