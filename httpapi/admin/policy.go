package admin

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// wholePolicy is all roles and grants of one revision.
type wholePolicy struct {
	revision uint64
	roles    []*policy.Role
	patterns policy.PatternGrants
	records  []*policy.Record
}

// grants yields the grants to patterns, then those of each principal.
func (p *wholePolicy) grants() iter.Seq[policy.Grant] {
	return func(yield func(policy.Grant) bool) {
		for _, g := range p.patterns.Sorted() {
			if !yield(*g) {
				return
			}
		}
		for _, r := range p.records {
			for i := range r.Grants {
				if !yield(r.Grants[i]) {
					return
				}
			}
		}
	}
}

func (a *api) wholePolicy(ctx context.Context) (p *wholePolicy, err error) {
	err = a.engine.View(ctx, func(v policy.View) { p = collect(v) })
	return p, err
}

// requestedPolicy returns the current policy, or that of the revision in the parameter at.
func (a *api) requestedPolicy(r *http.Request) (p *wholePolicy, err error) {
	if !r.URL.Query().Has("at") {
		return a.wholePolicy(r.Context())
	}
	at, err := numberOf(r, "at", 0, 0, math.MaxUint64)
	if err != nil {
		return nil, err
	}
	err = a.engine.At(at, func(v policy.View) { p = collect(v) })
	if errors.Is(err, oplog.ErrCompacted) {
		return nil, a.compacted(err)
	}
	return p, err
}

// collect gathers immutable values without copying them, because updates may be waiting.
func collect(v policy.View) *wholePolicy {
	p := &wholePolicy{revision: v.Revision(), roles: slices.Collect(v.Roles()), patterns: *v.Patterns()}
	slices.SortFunc(p.roles, func(a, b *policy.Role) int { return strings.Compare(a.Name(), b.Name()) })
	again := map[policy.Principal]bool{} // holders of another role, which come again
	for _, role := range p.roles {
		for who := range v.Holders(role.Name()) {
			if again[who] {
				continue
			}
			r := v.Record(who)
			if r == nil { // the store failed, and View returns the error
				continue
			}
			p.records = append(p.records, r)
			if slices.ContainsFunc(r.Grants, func(g policy.Grant) bool { return g.Role != role.Name() }) {
				again[who] = true
			}
		}
	}
	return p
}

// getPolicy answers with the whole policy: as JSON, or by Accept as YAML or in lines.
func (a *api) getPolicy(w http.ResponseWriter, r *http.Request) error {
	media := accepted(r.Header.Get("Accept"))
	if err := onlyQuery(r, "at"); err != nil {
		return err
	}
	if media == client.MediaLines {
		return a.getLines(w, r)
	}
	p, err := a.requestedPolicy(r)
	if err != nil {
		return err
	}
	format := policyfile.FormatJSON
	if media == client.MediaYAML {
		format = policyfile.FormatYAML
	}
	w.Header().Set("ETag", a.etag(p.revision))
	w.Header().Set("Content-Type", media)
	w.Header().Set("Vary", "Accept")
	_, _ = w.Write(format(slices.Values(p.roles), p.grants())) // the client may be gone
	return nil
}

// headPolicy answers with the ETag of the policy.
func (a *api) headPolicy(w http.ResponseWriter, r *http.Request) error {
	if err := a.authorize(r, control.ActionRead, control.ResourcePolicy); err != nil {
		return err
	}
	if err := onlyQuery(r); err != nil {
		return err
	}
	var revision uint64
	if err := a.engine.View(r.Context(), func(v policy.View) { revision = v.Revision() }); err != nil {
		return err
	}
	w.Header().Set("ETag", a.etag(revision))
	w.Header().Set("Content-Type", accepted(r.Header.Get("Accept")))
	w.Header().Set("Vary", "Accept")
	w.WriteHeader(http.StatusOK)
	return nil
}

// accepted returns the first of the three media types in an Accept header, JSON if it has none.
func accepted(accept string) string {
	for part := range strings.SplitSeq(accept, ",") {
		media, _, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		switch media {
		case client.MediaYAML, "text/yaml", "application/x-yaml":
			return client.MediaYAML
		case client.MediaJSON, client.MediaLines:
			return media
		}
	}
	return client.MediaJSON
}

// putPolicy replaces the roles and grants of the policy with those of the body: it computes the
// changes and applies them. It requires If-Match, so that a client does not undo changes that it
// has not seen. Revoked certificates stay revoked.
func (a *api) putPolicy(w http.ResponseWriter, r *http.Request) error {
	caller, err := a.callers.Identify(r)
	if err != nil {
		return err
	}
	if err := a.mayPropose(r.Context(), caller); err != nil {
		return err
	}
	u, err := a.updateOf(r)
	if err != nil {
		return err
	}
	if u.match == nil {
		return web.NewProblem(http.StatusPreconditionRequired, "precondition-required", "Precondition required",
			"Send the ETag of the policy that the new one is based on as If-Match.")
	}
	if err := a.authorize(r, control.ActionRead, control.ResourcePolicy); err != nil {
		return err
	}
	leave, err := a.gates.enterLarge(r, caller.Principal)
	if err != nil {
		return err
	}
	defer leave()
	file, err := a.readPolicy(w, r)
	if err != nil {
		return err
	}
	if err := a.authorize(r, control.ActionRead, control.ResourcePolicy); err != nil {
		return err // receiving the body may have taken long
	}
	extendWriting(w, len(file.Grants))
	now, err := a.matched(r.Context(), &u)
	if err != nil {
		return err
	}
	changes := policyfile.Diff(slices.Values(now.roles), now.grants(), file)
	if len(changes) == 0 && !u.dry && u.key == nil {
		return a.unchanged(w, r, now.revision, u)
	}
	extendWriting(w, len(changes))
	u.wait = max(u.wait, workTime(len(changes)))
	leave()
	return a.apply(w, r, caller, changes, u)
}

// matched returns the current policy if If-Match names it. The changes that are computed from it
// are right for this revision only, so the revision becomes the precondition.
func (a *api) matched(ctx context.Context, u *update) (now *wholePolicy, err error) {
	var stale error
	if err := a.engine.View(ctx, func(v policy.View) {
		// The log answers a repeated request by its idempotency key.
		if stale = u.match(v); stale == nil || u.key != nil {
			now = collect(v)
		}
	}); err != nil {
		return nil, err
	}
	if now == nil {
		return nil, stale
	}
	u.match = a.isAt(now.revision)
	if stale != nil {
		u.match = func(policy.View) error { return stale }
	}
	return now, nil
}

// workTime is the longest time that work on so many grants or changes takes.
func workTime(count int) time.Duration { return time.Duration(count) * 50 * time.Microsecond }

// extendWriting extends the write deadline beyond such work.
func extendWriting(w http.ResponseWriter, count int) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(workTime(count) + maxWait))
}

// unchanged answers a PUT of the current policy. It makes no update, which would need rights
// beyond reading, and waits until the last update is quiesced.
func (a *api) unchanged(w http.ResponseWriter, r *http.Request, revision uint64, u update) error {
	ctx, cancel := patience(w, r, u.wait)
	defer cancel()
	receipt, err := a.engine.Receipt(ctx, revision)
	if errors.Is(err, actors.ErrUnknownRevision) { // there was no update yet
		receipt, err = actors.Receipt{Quiesced: true}, nil
	}
	receipt.Unchanged = true
	return a.answerReceipt(w, r, receipt, err)
}

func (a *api) readPolicy(w http.ResponseWriter, r *http.Request) (*policyfile.File, error) {
	name, limit := "", a.limit
	switch media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case err == nil && media == client.MediaLines:
		return a.readLines(w, r)
	case err == nil && media == client.MediaJSON:
		name = "policy.json"
	case err == nil && (media == client.MediaYAML || media == "text/yaml" || media == "application/x-yaml"):
		name, limit = "policy.yaml", min(limit, policyfile.MaxYAML)
	default:
		return nil, &web.MediaTypeError{Detail: "Send the policy as application/yaml, application/json or application/x-ndjson."}
	}
	data, err := web.ReadBody(w, r, limit)
	if err != nil {
		return nil, err
	}
	file, err := policyfile.Parse(name, data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPolicyFile, err)
	}
	return file, nil
}

// errPolicyFile is wrapped by errors about the policy in a body.
var errPolicyFile = errors.New("policy rejected")
