package admin

import (
	"net/http"
	"slices"
	"strings"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// ifMatch returns the precondition of the request's If-Match, or nil if the request has none.
func (a *api) ifMatch(h http.Header) (func(policy.View) error, error) {
	values := h.Values("If-Match")
	if len(values) == 0 {
		return nil, nil
	}
	var tags []string
	for _, v := range values {
		for tag := range strings.SplitSeq(v, ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" {
				return func(policy.View) error { return nil }, nil
			}
			if len(tag) < 2 || !strings.HasPrefix(tag, `"`) || !strings.HasSuffix(tag, `"`) {
				return nil, queryProblem("If-Match", "is not an entity tag in quotes, as in a response's ETag")
			}
			tags = append(tags, tag)
		}
	}
	return func(tip policy.View) error {
		if current := a.etag(tip.Revision()); !slices.Contains(tags, current) {
			return &staleError{current}
		}
		return nil
	}, nil
}

// isAt requires that the policy is at a revision.
func (a *api) isAt(revision uint64) func(policy.View) error {
	return func(tip policy.View) error {
		if tip.Revision() != revision {
			return &staleError{a.etag(tip.Revision())}
		}
		return nil
	}
}

// staleError is a failed If-Match. It wraps [actors.ErrPrecondition].
type staleError struct{ current string }

func (e *staleError) Error() string { return "the policy is at " + e.current }

// Unwrap returns [actors.ErrPrecondition].
func (e *staleError) Unwrap() error { return actors.ErrPrecondition }
