package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// Headers that name the caller and the decision to another server.
const (
	// PrincipalHeader has the caller's principal.
	PrincipalHeader = "Interlock-Principal"
	// RevisionHeader has the revision of the policy that decided.
	RevisionHeader = "Interlock-Revision"
)

// decideTimeout bounds how long a decision may wait for the turn of its principal.
const decideTimeout = 10 * time.Second

// Decide returns a handler that answers whether the rule allows the request, and runs nothing. An
// allowed request gets status 200 without a body, with [PrincipalHeader] and [RevisionHeader].
// Another one gets the problem document of [Guard.Protect].
//
// The answer is a decision only (no G2): what another server does because of it is no operation of
// the engine. It can continue after a revocation, and the receipt of the update does not wait for
// it. A request that is decided after the receipt is denied.
//
// The other server has a request line of its own, so Decide also rejects a path that net/url would
// spell differently, with a 400.
//
// Decide panics if the rule is malformed, or has a mode, a grace or a limit.
func (g *Guard) Decide(rule Rule) http.Handler {
	if rule.Mode != Admit || rule.Grace != nil || rule.BodyLimit != 0 || rule.ResponseLimit != 0 {
		panic(fmt.Sprintf("httpapi: rule for %q on %q: a decision has no mode, grace or limit", rule.Action, rule.Resource))
	}
	route := g.guard(rule, nil)
	return route.handler(route.decide)
}

func (g *guarded) decide(w http.ResponseWriter, r *http.Request) error {
	ctx, req, err := g.request(r)
	if err != nil {
		return err
	}
	if err := web.CheckSpelling(r.URL); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, decideTimeout)
	defer cancel()
	d, err := g.engine.Decide(ctx, req)
	if err != nil {
		return err
	}
	if err := web.Refused(&d, &req); err != nil {
		return err
	}
	h := w.Header()
	h.Set(PrincipalHeader, req.Principal.String())
	h.Set(RevisionHeader, strconv.FormatUint(d.Revision, 10))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}
