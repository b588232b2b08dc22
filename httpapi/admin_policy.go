package httpapi

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
)

// wholePolicy is all roles and grants at one revision.
type wholePolicy struct {
	revision uint64
	roles    []*policy.Role
	patterns []policy.Grant
	records  []*policy.Record
}

// grants yields those to patterns, then those of one principal after the other.
func (p *wholePolicy) grants() iter.Seq[policy.Grant] {
	return func(yield func(policy.Grant) bool) {
		for i := range p.patterns {
			if !yield(p.patterns[i]) {
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

func (a *adminAPI) wholePolicy(ctx context.Context) (p *wholePolicy, err error) {
	err = a.engine.View(ctx, func(v policy.View) { p = collect(v) })
	return p, err
}

// askedPolicy returns the policy as it is, or as it was at the revision that the query
// names with at.
func (a *adminAPI) askedPolicy(r *http.Request) (p *wholePolicy, err error) {
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

// collect gathers what is immutable, and copies nothing of it: updates may wait meanwhile.
func collect(v policy.View) *wholePolicy {
	p := &wholePolicy{revision: v.Revision(), roles: slices.Collect(v.Roles()), patterns: v.Patterns()}
	slices.SortFunc(p.roles, func(a, b *policy.Role) int { return strings.Compare(a.Name(), b.Name()) })
	again := map[policy.Principal]bool{} // who holds another role too, and comes again
	for _, role := range p.roles {
		for who := range v.Holders(role.Name()) {
			if again[who] {
				continue
			}
			r := v.Record(who)
			if r == nil { // the store failed: then View says so
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

// getPolicy answers with the whole policy: as JSON or, if the client would rather have it,
// as YAML or in lines.
func (a *adminAPI) getPolicy(w http.ResponseWriter, r *http.Request) error {
	media := accepted(r.Header.Get("Accept"))
	if media == policy.LinesMedia {
		a.lines.ServeHTTP(w, r)
		return nil
	}
	if _, err := a.may(r, control.ActionRead, control.ResourcePolicy); err != nil {
		return err
	}
	if err := onlyQuery(r, "at"); err != nil {
		return err
	}
	p, err := a.askedPolicy(r)
	if err != nil {
		return err
	}
	format := policy.FormatJSON
	if media == mediaYAML {
		format = policy.FormatYAML
	}
	w.Header().Set("ETag", a.etag(p.revision))
	w.Header().Set("Content-Type", media)
	w.Header().Set("Vary", "Accept")
	_, _ = w.Write(format(slices.Values(p.roles), p.grants())) // who does not read the answer needs none
	return nil
}

// headPolicy tells the revision of the policy, by its ETag.
func (a *adminAPI) headPolicy(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.may(r, control.ActionRead, control.ResourcePolicy); err != nil {
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

const (
	mediaJSON = "application/json"
	mediaYAML = "application/yaml"
)

// accepted returns the one of our media types that is named first; without a word about
// any it is JSON.
func accepted(accept string) string {
	for part := range strings.SplitSeq(accept, ",") {
		media, _, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		switch media {
		case mediaYAML, "text/yaml", "application/x-yaml":
			return mediaYAML
		case mediaJSON, policy.LinesMedia:
			return media
		}
	}
	return mediaJSON
}

// putPolicy replaces the roles and grants of the policy with what the body says. It takes
// an If-Match, so that nobody undoes what it has not seen, and comes to the changes that
// lead there. Revoked certificates stay revoked.
func (a *adminAPI) putPolicy(w http.ResponseWriter, r *http.Request) error {
	caller, err := a.callers.CallerFrom(r)
	if err != nil {
		return err
	}
	how, err := a.howOf(r)
	if err != nil {
		return err
	}
	if how.match == nil {
		return problem(http.StatusPreconditionRequired, "precondition-required", "Precondition required",
			"Send the ETag of the policy that the new one was made from as If-Match.")
	}
	if _, err := a.may(r, control.ActionRead, control.ResourcePolicy); err != nil {
		return err
	}
	file, err := a.readPolicy(w, r)
	if err != nil {
		return err
	}
	if _, err := a.may(r, control.ActionRead, control.ResourcePolicy); err != nil {
		return err // it may have taken long to come
	}
	extendWriting(w, len(file.Grants))
	now, err := a.matched(r.Context(), &how)
	if err != nil {
		return err
	}
	changes := policy.Diff(slices.Values(now.roles), now.grants(), file)
	if len(changes) == 0 && !how.dry && how.repeat == nil {
		return a.unchanged(w, r, now.revision, how)
	}
	extendWriting(w, len(changes))
	how.wait = max(how.wait, workTime(len(changes)))
	return a.apply(w, r, caller, changes, how)
}

// matched returns the policy as it is if it is what the If-Match names. Changes that are
// computed from it lead to what the file says from this revision and from no other,
// whatever the If-Match says: so that becomes the precondition.
func (a *adminAPI) matched(ctx context.Context, h *how) (now *wholePolicy, err error) {
	var stale error
	if err := a.engine.View(ctx, func(v policy.View) {
		// A request that is sent again is answered by its key, which the log knows.
		if stale = h.match(v); stale == nil || h.repeat != nil {
			now = collect(v)
		}
	}); err != nil {
		return nil, err
	}
	if now == nil {
		return nil, stale
	}
	h.match = a.isAt(now.revision)
	if stale != nil {
		h.match = func(policy.View) error { return stale }
	}
	return now, nil
}

// workTime is how long, at most, work on so many grants or changes takes.
func workTime(count int) time.Duration { return time.Duration(count) * 50 * time.Microsecond }

// extendWriting gives the answer time behind such work.
func extendWriting(w http.ResponseWriter, count int) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(workTime(count) + maxWait))
}

// unchanged answers a policy that says what the server's says: no update is made, for that
// takes no right beyond reading. What the last one revoked is waited for all the same.
func (a *adminAPI) unchanged(w http.ResponseWriter, r *http.Request, revision uint64, h how) error {
	ctx, cancel := patience(w, r, h.wait)
	defer cancel()
	receipt, err := a.engine.Receipt(ctx, revision)
	if errors.Is(err, actors.ErrUnknownRevision) { // nothing was ever changed
		receipt, err = actors.Receipt{Quiesced: true}, nil
	}
	receipt.Unchanged = true
	return a.answerReceipt(w, receipt, err)
}

// maxYAML bounds a policy in YAML, in bytes: it takes some two hundred times its size while
// it is read.
const maxYAML = 2 << 20

func (a *adminAPI) readPolicy(w http.ResponseWriter, r *http.Request) (*policy.File, error) {
	name, limit := "", a.limit
	switch media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case err == nil && media == policy.LinesMedia:
		return a.readLines(w, r)
	case err == nil && media == mediaJSON:
		name = "policy.json"
	case err == nil && (media == mediaYAML || media == "text/yaml" || media == "application/x-yaml"):
		name, limit = "policy.yaml", min(limit, maxYAML)
	default:
		return nil, &mediaTypeError{Detail: "Send the policy as application/yaml, application/json or application/x-ndjson."}
	}
	data, err := readBody(w, r, limit)
	if err != nil {
		return nil, err
	}
	file, err := policy.ParseFile(name, data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPolicyFile, err)
	}
	return file, nil
}

// errPolicyFile is wrapped by the errors of a policy in a body.
var errPolicyFile = errors.New("the policy is refused")
