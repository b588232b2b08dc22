package grpcguard

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
)

// Options of [New].
type Options struct {
	// Engine decides. It is required.
	Engine *actors.Engine
	// Connections identifies callers; nil for mutual TLS with SPIFFE IDs. Share it with
	// [httpapi.NewServer], the engine and the guards of HTTP handlers.
	Connections *httpapi.Connections
	// Rules has a rule for each method, by its full name: "/package.Service/Method".
	Rules map[string]Rule
	// Logger is slog.Default by default.
	Logger *slog.Logger
}

// Rule says what a method needs.
type Rule struct {
	// Action is the action.
	Action string
	// Resource is the resource, as literal text. Leave it empty if ResourceOf is set.
	Resource string
	// ResourceOf returns the resource of a call, and the resource's properties for conditions; nil
	// for none. The resource is text, never a pattern.
	//
	// message is the request of a unary or server-streaming method, and nil for the other methods.
	// ResourceOf must not change it. ctx is that of the call, with its metadata and the caller.
	//
	// ResourceOf runs before the decision, so its error must not tell whether the resource exists.
	// A status error passes. Any other error becomes INVALID_ARGUMENT without its text.
	ResourceOf func(ctx context.Context, method string, message any) (resource string, properties map[string]any, err error)
	// Mode says how the handler runs. [httpapi.Execute] is for unary methods only.
	Mode httpapi.Mode
	// Grace is how long an operation in mode Admit may continue after it lost its authority: see
	// [actors.Request]. Nil leaves it to the update.
	Grace *time.Duration
}

// Guard is the enforcement point of a gRPC server. Make one with [New]. It is safe for concurrent
// use.
type Guard struct {
	engine      *actors.Engine
	connections *httpapi.Connections
	rules       map[string]Rule
	log         *slog.Logger
}

// New makes a guard. The error joins everything that is wrong with the options.
func New(o Options) (*Guard, error) {
	var faults []error
	if o.Engine == nil {
		faults = append(faults, errors.New("grpcguard: no engine"))
	}
	for _, method := range slices.Sorted(maps.Keys(o.Rules)) {
		rule := o.Rules[method]
		for _, err := range []error{checkMethod(method), rule.check()} {
			if err != nil {
				faults = append(faults, fmt.Errorf("grpcguard: rule for %q: %w", method, err))
			}
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	if o.Connections == nil {
		o.Connections = httpapi.NewConnections(nil)
	}
	return &Guard{engine: o.Engine, connections: o.Connections, rules: maps.Clone(o.Rules), log: cmp.Or(o.Logger, slog.Default())}, nil
}

func checkMethod(method string) error {
	service, name, found := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	if !strings.HasPrefix(method, "/") || !found || service == "" || name == "" || strings.Contains(name, "/") {
		return errors.New(`a full method is "/package.Service/Method"`)
	}
	return nil
}

func (r *Rule) check() error {
	var faults []error
	if err := policy.CheckAction(r.Action); err != nil {
		faults = append(faults, err)
	}
	if r.ResourceOf == nil {
		if err := policy.CheckResource(r.Resource); err != nil {
			faults = append(faults, err)
		}
	} else if r.Resource != "" {
		faults = append(faults, errors.New("set Resource or ResourceOf, not both"))
	}
	if r.Mode > httpapi.Execute {
		faults = append(faults, fmt.Errorf("mode %d: unknown", r.Mode))
	}
	if r.Grace != nil && (r.Mode != httpapi.Admit || *r.Grace < 0) {
		faults = append(faults, errors.New("a grace is for mode Admit, and at least 0"))
	}
	return errors.Join(faults...)
}

// Check compares the rules with the services that are registered on the server. It returns an
// error for each rule whose method the server does not have, and for each stream in mode Execute,
// which the guard rejects. Call it after all services are registered. Methods without a rule are
// no error: they are denied.
func (g *Guard) Check(server *grpc.Server) error {
	streams := map[string]bool{}
	for service, info := range server.GetServiceInfo() {
		for _, m := range info.Methods {
			streams["/"+service+"/"+m.Name] = m.IsClientStream || m.IsServerStream
		}
	}
	var faults []error
	for _, method := range slices.Sorted(maps.Keys(g.rules)) {
		switch streaming, found := streams[method]; {
		case !found:
			faults = append(faults, fmt.Errorf("grpcguard: rule for %q: the server has no such method", method))
		case streaming && g.rules[method].Mode == httpapi.Execute:
			faults = append(faults, fmt.Errorf("grpcguard: rule for %q: %w", method, errStreamInTurn))
		}
	}
	return errors.Join(faults...)
}

var errStreamInTurn = errors.New("mode Execute is for unary methods")

// attempt is a call whose caller is known and that is not admitted yet.
type attempt struct {
	ctx    context.Context // with the caller
	caller *httpapi.Caller
	rule   Rule
	method string
}

// begin identifies the caller and finds the rule.
func (g *Guard) begin(ctx context.Context, method string) (*attempt, error) {
	caller, err := g.connections.IdentifyChain(ctx, verifiedChain(ctx))
	if err != nil {
		return nil, err
	}
	rule, found := g.rules[method]
	if !found {
		return nil, fmt.Errorf("%w: no rule for the method", actors.ErrDenied)
	}
	return &attempt{httpapi.ContextWithCaller(ctx, caller), caller, rule, method}, nil
}

// verifiedChain returns the first verified chain of the connection, empty for none.
func verifiedChain(ctx context.Context) []*x509.Certificate {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	secure, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(secure.State.VerifiedChains) == 0 {
		return nil
	}
	return secure.State.VerifiedChains[0]
}

// request makes the engine's request.
func (a *attempt) request(message any) (actors.Request, error) {
	resource := a.rule.Resource
	var properties map[string]any
	if a.rule.ResourceOf != nil {
		var err error
		if resource, properties, err = a.rule.ResourceOf(a.ctx, a.method, message); err != nil {
			return actors.Request{}, &resourceError{err}
		}
		if err := policy.CheckResource(resource); err != nil {
			return actors.Request{}, &resourceError{err}
		}
	}
	req := a.caller.Request(a.rule.Action, resource)
	req.Grace = a.rule.Grace
	if properties != nil {
		req.Properties = &policy.Properties{Resource: properties}
	}
	return req, nil
}
