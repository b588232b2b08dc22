package authzen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/question"
	"github.com/interlock-authz/interlock/httpapi/internal/share"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// Options of [New]. Engine and BaseURL are required.
type Options struct {
	Engine *actors.Engine
	// Identifier finds the caller of a request; nil for mutual TLS with SPIFFE IDs.
	Identifier httpapi.Identifier
	// BaseURL is the https URL of the API for clients. The metadata is made of it and of
	// nothing in a request.
	BaseURL string
	// Logger is for requests without a log of their own; nil for slog.Default.
	Logger *slog.Logger
	// MaxBody bounds a body in bytes; 0 for 1 MiB.
	MaxBody int64
	// MaxEvaluations bounds the items of a batch; 0 for 1,000.
	MaxEvaluations int
	// Timeout bounds how long a request waits for the engine; 0 for 10 s.
	Timeout time.Duration
}

// API serves the decision API. It is safe for concurrent use. Make one with [New].
type API struct {
	engine   *actors.Engine
	callers  httpapi.Identifier
	log      *slog.Logger
	maxBody  int64
	maxItems int
	timeout  time.Duration
	bodies   *web.Bodies
	parsing  *share.Line[policy.Principal] // of large bodies
	metadata client.Metadata
	router   http.Handler
}

// ErrBaseURL is wrapped by the error of [New] for a base URL that cannot be used.
var ErrBaseURL = errors.New("authzen: malformed base URL")

// New makes the API. The error wraps [ErrBaseURL].
func New(o Options) (*API, error) {
	base, err := baseURL(o.BaseURL)
	if err != nil {
		return nil, err
	}
	a := &API{
		engine: o.Engine, callers: o.Identifier, log: o.Logger,
		maxBody: cmp.Or(o.MaxBody, 1<<20), maxItems: cmp.Or(o.MaxEvaluations, 1000), timeout: cmp.Or(o.Timeout, 10*time.Second),
		bodies: web.NewBodies(), parsing: share.NewLine[policy.Principal](max(runtime.GOMAXPROCS(0)/2, 1)),
		metadata: client.Metadata{DecisionPoint: base, Evaluation: base + client.EvaluationPath, Evaluations: base + client.EvaluationsPath},
	}
	if a.callers == nil {
		a.callers = httpapi.NewConnections(nil)
	}
	router := httpapi.NewRouter(o.Logger)
	a.Mount(router)
	a.router = router
	return a, nil
}

// baseURL checks the URL and returns it without a slash at its end.
func baseURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%w: %q; use one such as https://pdp.example.org, without query and fragment", ErrBaseURL, text)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// Mount adds the routes of the API to a router, preferably one of [httpapi.NewRouter].
func (a *API) Mount(router *mux.Router) {
	router.Handle(client.EvaluationPath, web.ForAPI(web.Handle(a.log, a.serveEvaluation))).Methods(http.MethodPost)
	router.Handle(client.EvaluationsPath, web.ForAPI(web.Handle(a.log, a.serveEvaluations))).Methods(http.MethodPost)
	router.Handle(client.MetadataPath, web.ForAPI(web.Handle(a.log, a.serveMetadata))).Methods(http.MethodGet, http.MethodHead)
}

// ServeHTTP serves the API on its own router.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.router.ServeHTTP(w, r) }

// serveMetadata needs no caller, so that a client can find the endpoints before it has a
// certificate.
func (a *API) serveMetadata(w http.ResponseWriter, _ *http.Request) error {
	text, err := json.Marshal(&a.metadata)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age=3600")
	_, err = w.Write(text)
	return err
}

func (a *API) serveEvaluation(w http.ResponseWriter, r *http.Request) error {
	asked, cancel, err := a.inquire(r)
	if err != nil {
		return err
	}
	defer cancel()
	var e question.Evaluation
	leave, err := a.readBody(w, r, asked, &e, func() error { return e.Check("") })
	defer leave()
	if err != nil {
		return err
	}
	answer, err := asked.one(&e)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, answer)
}

// quickBody is how long a body may be that is parsed at once, in bytes, and that of a caller
// without a grant.
const quickBody = 16 << 10

// limitOf returns how long the caller's body may be. A caller without a grant may ask about
// itself only, and every answer is no.
func (a *API) limitOf(r *http.Request, asked *inquiry) (int64, error) {
	if r.ContentLength >= 0 && r.ContentLength <= quickBody {
		return a.maxBody, nil
	}
	who := asked.caller.Principal
	for range a.engine.Table().Patterns().Matching(who) {
		return a.maxBody, nil
	}
	record, err := a.engine.Record(asked.ctx, who)
	if err != nil {
		return 0, err
	}
	if record == nil || len(record.Grants) == 0 {
		return min(a.maxBody, quickBody), nil
	}
	return a.maxBody, nil
}

// readBody reads a request and checks it. The body counts until leave is called, also after an
// error. Large bodies are parsed few at a time, and the callers take turns.
func (a *API) readBody(w http.ResponseWriter, r *http.Request, asked *inquiry, into any, check func() error) (leave func(), err error) {
	who := asked.caller.Principal
	limit, err := a.limitOf(r, asked)
	if err != nil {
		return func() {}, err
	}
	leave, err = a.bodies.Enter(r, limit, who)
	if err != nil {
		return func() {}, err
	}
	data, err := web.ReadJSONBody(w, r, limit)
	if wrong, ok := errors.AsType[*web.MediaTypeError](err); ok { // AuthZEN wants 400
		return leave, web.NewProblem(http.StatusBadRequest, "unsupported-media-type", "Unsupported media type", wrong.Detail)
	}
	if err != nil {
		return leave, err
	}
	if len(data) > quickBody {
		parsed, err := a.parsing.Enter(asked.ctx, who)
		if err != nil {
			return leave, err
		}
		defer parsed()
	}
	if err := web.ParseJSON(data, into); err != nil {
		return leave, err
	}
	return leave, check()
}

// inquire identifies the caller and reads the query. The caller calls the CancelFunc.
func (a *API) inquire(r *http.Request) (*inquiry, context.CancelFunc, error) {
	caller, err := a.callers.Identify(r)
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
	return false, web.NewProblem(http.StatusBadRequest, "query", "Bad query", "explain is true or false.")
}
