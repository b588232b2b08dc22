package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/actors/policy"
)

// The paths of the decision API.
const (
	evaluationPath  = "/access/v1/evaluation"
	evaluationsPath = "/access/v1/evaluations"
	metadataPath    = "/.well-known/authzen-configuration"
)

// DecisionOptions of [NewDecisionAPI]. Engine and BaseURL are needed.
type DecisionOptions struct {
	Engine *actors.Engine
	// Connections finds the callers; nil knows SPIFFE IDs only.
	Connections *Connections
	// BaseURL is the https URL under which clients reach the API. The metadata is made of
	// it, and of nothing that a request says.
	BaseURL string
	// Logger is for requests that bring no log of their own; nil for slog.Default.
	Logger *slog.Logger
	// MaxBody is the most bytes of a body; 0 for 1 MiB.
	MaxBody int64
	// MaxEvaluations is the most items of a batch; 0 for 1,000.
	MaxEvaluations int
	// Timeout is how long a request may wait for the engine; 0 for 10 s.
	Timeout time.Duration
}

// DecisionAPI answers the evaluation endpoints of the OpenID AuthZEN Authorization API
// 1.0. A subject of type "principal" is the principal that its id says, any other is
// type:id, and the types that name a certificate's identities are refused; the resource
// is type/id.
//
// Everyone may ask about itself: then the caller's certificate is looked at in the very
// turn that decides. To ask about others takes the right interlock:decide on
// principals/ID, the ID percent-encoded as one segment.
//
// A denial is an answer with status 200. An item of a batch that lacks something or is
// malformed is denied, the others are not disturbed. That the engine could not decide is
// no answer but a problem document. With the query ?explain=true each answer has a
// context with its reason, for callers with the right interlock:read on policy.
type DecisionAPI struct {
	engine      *actors.Engine
	connections *Connections
	log         *slog.Logger
	maxBody     int64
	maxItems    int
	timeout     time.Duration
	metadata    []byte
	router      *mux.Router
}

// ErrBaseURL is wrapped when a base URL is none.
var ErrBaseURL = errors.New("httpapi: not a base URL")

// NewDecisionAPI makes the API. The error wraps [ErrBaseURL].
func NewDecisionAPI(o DecisionOptions) (*DecisionAPI, error) {
	base, err := baseURL(o.BaseURL)
	if err != nil {
		return nil, err
	}
	a := &DecisionAPI{
		engine: o.Engine, connections: cmp.Or(o.Connections, NewConnections(nil)), log: o.Logger,
		maxBody: cmp.Or(o.MaxBody, 1<<20), maxItems: cmp.Or(o.MaxEvaluations, 1000),
		timeout: cmp.Or(o.Timeout, 10*time.Second),
	}
	if a.metadata, err = metadataOf(base); err != nil {
		return nil, err
	}
	a.router = NewRouter(o.Logger)
	a.Mount(a.router)
	return a, nil
}

// baseURL checks and returns the URL without a slash at its end.
func baseURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%w: %q; give one such as https://pdp.example.org, without query and fragment", ErrBaseURL, text)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

func metadataOf(base string) ([]byte, error) {
	return json.Marshal(struct {
		DecisionPoint string `json:"policy_decision_point"`
		Evaluation    string `json:"access_evaluation_endpoint"`
		Evaluations   string `json:"access_evaluations_endpoint"`
	}{base, base + evaluationPath, base + evaluationsPath})
}

// Mount adds the API's routes to a router, best one of [NewRouter].
func (a *DecisionAPI) Mount(router *mux.Router) {
	router.Handle(evaluationPath, handle(a.log, a.serveEvaluation)).Methods(http.MethodPost)
	router.Handle(evaluationsPath, handle(a.log, a.serveEvaluations)).Methods(http.MethodPost)
	router.Handle(metadataPath, handle(a.log, a.serveMetadata)).Methods(http.MethodGet, http.MethodHead)
}

// ServeHTTP serves the API's own routes.
func (a *DecisionAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.router.ServeHTTP(w, r) }

// serveMetadata is for everybody, so that a client can find its way before it has a
// certificate.
func (a *DecisionAPI) serveMetadata(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age=3600")
	_, err := w.Write(a.metadata)
	return err
}

func (a *DecisionAPI) serveEvaluation(w http.ResponseWriter, r *http.Request) error {
	asked, cancel, err := a.inquire(r)
	if err != nil {
		return err
	}
	defer cancel()
	var e evaluation
	if err := readJSON(w, r, a.maxBody, &e); err != nil {
		return err
	}
	if err := e.check(""); err != nil {
		return err
	}
	answer, err := asked.one(&e)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}

// inquiry is one request to the API: who asks, and how.
type inquiry struct {
	engine  *actors.Engine
	ctx     context.Context
	caller  *Caller
	explain bool
}

func (a *DecisionAPI) inquire(r *http.Request) (*inquiry, context.CancelFunc, error) {
	caller, err := a.connections.CallerFrom(r)
	if err != nil {
		return nil, nil, err
	}
	explain, err := wantsExplanation(r)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.timeout)
	return &inquiry{engine: a.engine, ctx: ctx, caller: caller, explain: explain}, cancel, nil
}

// wantsExplanation reads ?explain=true.
func wantsExplanation(r *http.Request) (bool, error) {
	switch values := r.URL.Query()["explain"]; {
	case len(values) == 0, len(values) == 1 && values[0] == "false":
		return false, nil
	case len(values) == 1 && values[0] == "true":
		return true, nil
	}
	return false, problem(http.StatusBadRequest, "query", "Bad query", "explain is true or false.")
}

// one answers a single evaluation, which has to be complete.
func (q *inquiry) one(e *evaluation) (answer, error) {
	req, err := e.question()
	if err != nil {
		return answer{}, err
	}
	if err := q.mayAsk([]actors.Request{req}); err != nil {
		return answer{}, err
	}
	d, err := q.decide(q.asCaller(req))
	if err != nil {
		return answer{}, err
	}
	return q.answer(&d), nil
}

// asCaller gives a question of the caller about itself the caller's credential.
func (q *inquiry) asCaller(req actors.Request) actors.Request {
	if req.Principal == q.caller.Principal {
		req.Credential = q.caller.Credential
	}
	return req
}

// mayAsk asks, in one turn of the caller and before anything else is decided, whether the
// caller may ask the questions, and may have them explained. The zero Principal is
// nobody's: nothing will be asked about it.
func (q *inquiry) mayAsk(questions []actors.Request) error {
	var rights []actors.Request
	asked := map[policy.Principal]bool{q.caller.Principal: true, {}: true}
	for i := range questions {
		if who := questions[i].Principal; !asked[who] {
			asked[who] = true
			rights = append(rights, q.caller.Request(control.ActionDecide, control.PrincipalResource(who)))
		}
	}
	if q.explain {
		rights = append(rights, q.caller.Request(control.ActionRead, control.ResourcePolicy))
	}
	decisions, err := q.engine.DecideAll(q.ctx, rights)
	if err != nil {
		return err
	}
	for i := range decisions {
		if err := refusal(&decisions[i], &rights[i]); err != nil {
			return err
		}
	}
	return nil
}

// decide asks the engine one question.
func (q *inquiry) decide(req actors.Request) (policy.Decision, error) {
	d, err := q.engine.Decide(q.ctx, req)
	if err != nil {
		return policy.Decision{}, err
	}
	return d, undecided(&d, &req)
}

// refusal is the error of a decision that does not allow.
func refusal(d *policy.Decision, req *actors.Request) error {
	if d.Allowed {
		return nil
	}
	if err := undecided(d, req); err != nil {
		return err
	}
	return &actors.DeniedError{Decision: *d, Principal: req.Principal, Action: req.Action, Resource: req.Resource}
}

// undecided is the error of a decision that no policy made: the engine could not, or the
// caller's certificate has ended.
func undecided(d *policy.Decision, req *actors.Request) error {
	switch d.Reason {
	case policy.ReasonFault, policy.ReasonUnset:
		return actors.ErrFault
	case policy.ReasonClosed:
		return actors.ErrClosed
	case policy.ReasonOverloaded:
		return actors.ErrOverloaded
	case policy.ReasonCredentialExpired, policy.ReasonCredentialRevoked:
		return &actors.DeniedError{Decision: *d, Principal: req.Principal, Action: req.Action, Resource: req.Resource}
	}
	return nil
}

// answer is a decision as AuthZEN writes it.
type answer struct {
	Decision bool         `json:"decision"`
	Context  *explanation `json:"context,omitzero"`
}

// explanation is the context of an answer, for those who asked for it and may have it.
type explanation struct {
	Reason     policy.Reason `json:"reason"`
	Role       string        `json:"role,omitzero"`
	Permission string        `json:"permission,omitzero"`
	Revision   uint64        `json:"revision"`
}

func (q *inquiry) answer(d *policy.Decision) answer {
	if !q.explain {
		return answer{Decision: d.Allowed}
	}
	ex := d.Explain()
	context := &explanation{Reason: ex.Reason, Role: ex.Role, Revision: ex.Revision}
	if ex.Permission != nil {
		context.Permission = ex.Permission.String()
	}
	return answer{Decision: d.Allowed, Context: context}
}
