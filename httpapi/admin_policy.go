package httpapi

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// wholePolicy is all roles and grants at one revision.
type wholePolicy struct {
	revision uint64
	roles    []*policy.Role
	grants   []policy.Grant
}

func (a *adminAPI) wholePolicy(ctx context.Context) (p wholePolicy, err error) {
	err = a.engine.View(ctx, func(v policy.View) { p = collect(v) })
	return p, err
}

func collect(v policy.View) wholePolicy {
	p := wholePolicy{revision: v.Revision(), roles: slices.Collect(v.Roles()), grants: slices.Clone(v.Patterns())}
	slices.SortFunc(p.roles, func(a, b *policy.Role) int { return strings.Compare(a.Name(), b.Name()) })
	seen := map[policy.Principal]bool{}
	for _, role := range p.roles {
		for who := range v.Holders(role.Name()) {
			if !seen[who] {
				seen[who] = true
				p.grants = append(p.grants, v.Record(who).Grants...)
			}
		}
	}
	return p
}

// getPolicy answers with the whole policy, as JSON or, if the client would rather have
// it, as YAML.
func (a *adminAPI) getPolicy(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.may(r, actionRead, resourcePolicy); err != nil {
		return err
	}
	if err := onlyQuery(r); err != nil {
		return err
	}
	p, err := a.wholePolicy(r.Context())
	if err != nil {
		return err
	}
	media, format := "application/json", policy.FormatJSON
	if wantsYAML(r.Header.Get("Accept")) {
		media, format = "application/yaml", policy.FormatYAML
	}
	w.Header().Set("ETag", a.etag(p.revision))
	w.Header().Set("Content-Type", media)
	w.Header().Set("Vary", "Accept")
	_, _ = w.Write(format(slices.Values(p.roles), slices.Values(p.grants))) // who does not read the answer needs none
	return nil
}

// wantsYAML reports whether YAML is named before JSON; without a word about either it is
// JSON.
func wantsYAML(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		media, _, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		switch media {
		case "application/yaml", "text/yaml", "application/x-yaml":
			return true
		case "application/json":
			return false
		}
	}
	return false
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
	if _, err := a.may(r, actionRead, resourcePolicy); err != nil {
		return err
	}
	file, err := a.readPolicy(w, r)
	if err != nil {
		return err
	}
	var changes []policy.Change
	var seen uint64
	if err := a.engine.View(r.Context(), func(v policy.View) {
		now := collect(v)
		changes = policy.Diff(slices.Values(now.roles), slices.Values(now.grants), file)
		seen, err = now.revision, how.match(v)
	}); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	if len(changes) == 0 && !how.dry {
		return a.unchanged(w, r, seen, how)
	}
	// They lead to what the file says from this revision and from no other, whatever the
	// If-Match says.
	how.match = a.isAt(seen)
	return a.apply(w, r, caller, changes, how)
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

func (a *adminAPI) readPolicy(w http.ResponseWriter, r *http.Request) (*policy.File, error) {
	name := ""
	switch media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case err == nil && media == "application/json":
		name = "policy.json"
	case err == nil && (media == "application/yaml" || media == "text/yaml" || media == "application/x-yaml"):
		name = "policy.yaml"
	default:
		return nil, &mediaTypeError{Detail: "Send the policy as application/yaml or application/json."}
	}
	data, err := readBody(w, r, a.limit)
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
