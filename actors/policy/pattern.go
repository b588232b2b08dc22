package policy

import (
	"strings"
)

const (
	wildOne  = "*"
	wildRest = "**"
)

// ControlPrefix begins the actions of interlock's own control plane.
const ControlPrefix = "interlock:"

// ActionPattern is a checked pattern of actions, split at ':'. See the package
// documentation for the grammar.
type ActionPattern struct{ text string }

// ResourcePattern is a checked pattern of resources, split at '/'.
type ResourcePattern struct{ text string }

// PrincipalPattern is a checked pattern of principals. Its kind, and the trust domain of
// a SPIFFE ID, are literal: a pattern never spans two of them.
type PrincipalPattern struct{ text string }

// ParseActionPattern checks an action pattern such as "orders:*". The error wraps
// [ErrMalformed].
func ParseActionPattern(s string) (ActionPattern, error) {
	if err := checkPattern("action pattern", s, ':', MaxAction); err != nil {
		return ActionPattern{}, err
	}
	return ActionPattern{text: s}, nil
}

// ParseResourcePattern checks a resource pattern such as "orders/eu/**". The error wraps
// [ErrMalformed].
func ParseResourcePattern(s string) (ResourcePattern, error) {
	if err := checkPattern("resource pattern", s, '/', MaxResource); err != nil {
		return ResourcePattern{}, err
	}
	return ResourcePattern{text: s}, nil
}

// ParsePrincipalPattern checks a principal pattern such as
// "spiffe://example.org/ns/*/sa/*". It has to hold a wildcard (a grant to exactly one
// principal says so by the field it uses), and the text without wildcards has to be a
// principal's. The error wraps [ErrMalformed].
func ParsePrincipalPattern(s string) (PrincipalPattern, error) {
	const what = "principal pattern"
	if err := checkName(what, s, MaxPrincipal); err != nil {
		return PrincipalPattern{}, err
	}
	kind, name, ok := strings.Cut(s, ":")
	if !ok || !IsKind(kind) || name == "" {
		return PrincipalPattern{}, malformed(what, s, "does not begin with a literal kind and a colon, as in spiffe://trust-domain/** or user:*")
	}
	if err := checkSegments(what, s, name, '/', false); err != nil {
		return PrincipalPattern{}, err
	}
	wild, sample := false, make([]string, 0, 8)
	for _, seg := range strings.Split(name, "/") {
		switch seg {
		case wildOne, wildRest:
			wild, seg = true, "x"
		}
		sample = append(sample, seg)
	}
	if !wild {
		return PrincipalPattern{}, malformed(what, s, "holds no wildcard: name a single principal with the field principal")
	}
	if kind == "spiffe" && (len(sample) < 4 || strings.HasPrefix(name, "//*")) {
		return PrincipalPattern{}, malformed(what, s, "has to name its trust domain literally, as in spiffe://trust-domain/**")
	}
	if _, err := ParsePrincipal(kind + ":" + strings.Join(sample, "/")); err != nil {
		return PrincipalPattern{}, malformed(what, s, "could match no principal: %v", err)
	}
	return PrincipalPattern{text: s}, nil
}

// String returns the pattern's text.
func (p ActionPattern) String() string { return p.text }

// String returns the pattern's text.
func (p ResourcePattern) String() string { return p.text }

// String returns the pattern's text; the zero pattern has none.
func (p PrincipalPattern) String() string { return p.text }

// IsZero reports whether p is the zero pattern, which matches no principal.
func (p PrincipalPattern) IsZero() bool { return p.text == "" }

// Matches reports whether the pattern matches the action.
func (p ActionPattern) Matches(action string) bool {
	if isControl(action) != isControl(p.text) {
		return false
	}
	return match(p.text, action, ':')
}

// Matches reports whether the pattern matches the resource as that of an allow or of a limit:
// no wildcard matches a segment of dots, and '*' no empty one unless '**' follows.
func (p ResourcePattern) Matches(resource string) bool {
	return match(p.text, resource, '/') && matchOdd(p.text, resource)
}

// MatchesDeny reports whether the pattern matches the resource as that of a deny, whose
// wildcards match odd segments too.
func (p ResourcePattern) MatchesDeny(resource string) bool { return match(p.text, resource, '/') }

// Matches reports whether the pattern matches the principal.
func (p PrincipalPattern) Matches(who Principal) bool {
	pk, pn, _ := strings.Cut(p.text, ":")
	k, n, ok := strings.Cut(who.id, ":")
	return ok && pk == k && match(pn, n, '/')
}

// Covers reports whether [ResourcePattern.Matches] of p is true for each resource for which
// that of q is.
func (p ResourcePattern) Covers(q ResourcePattern) bool {
	narrow := q.text
	if narrow == wildRest { // a name has one segment at least
		narrow = "*/**"
	}
	return covers(p.text, narrow, '/') && matchOdd(p.text, narrow)
}

// Overlaps reports whether [ResourcePattern.MatchesDeny] of both patterns could be true for
// some resource.
func (p ResourcePattern) Overlaps(q ResourcePattern) bool { return overlaps(p.text, q.text, '/') }

// ReachesControl reports whether the pattern can match an action of the control plane.
func (p ActionPattern) ReachesControl() bool { return isControl(p.text) }

// Covers reports whether every action that q matches is matched by p too.
func (p ActionPattern) Covers(q ActionPattern) bool {
	return isControl(p.text) == isControl(q.text) && covers(p.text, q.text, ':')
}

// Overlaps reports whether some action could be matched by both patterns.
func (p ActionPattern) Overlaps(q ActionPattern) bool {
	return isControl(p.text) == isControl(q.text) && overlaps(p.text, q.text, ':')
}

func isControl(action string) bool { return strings.HasPrefix(action, ControlPrefix) }

func checkPattern(what, s string, sep byte, most int) error {
	if err := checkName(what, s, most); err != nil {
		return err
	}
	return checkSegments(what, s, s, sep, true)
}

// checkSegments checks where wildcards stand in rest, which is s or its end. prefixes tells
// whether a segment may end in a wildcard.
func checkSegments(what, s, rest string, sep byte, prefixes bool) error {
	for more := true; more; {
		var seg string
		seg, rest, more = cutSegment(rest, sep)
		if seg == wildRest && more {
			return malformed(what, s, "has ** before its end; ** may stand last only")
		}
		if seg == wildOne || seg == wildRest {
			continue
		}
		switch star := strings.IndexByte(seg, '*'); {
		case star >= 0 && !prefixes:
			return malformed(what, s, "has a * inside the segment %q; * stands for one whole segment", seg)
		case star >= 0 && star < len(seg)-1:
			return malformed(what, s, "has a * before the end of the segment %q; a segment is *, or may end in one *", seg)
		}
	}
	return nil
}

func cutSegment(s string, sep byte) (seg, rest string, more bool) {
	if i := strings.IndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// prefixOf returns the prefix that a segment of a pattern stands for, "" for '*'. It reports
// false if the segment is literal.
func prefixOf(segment string) (prefix string, wild bool) { return strings.CutSuffix(segment, wildOne) }

// matchSegment reports whether a segment of a pattern, not '**', matches one of a name.
func matchSegment(p, n string) bool {
	if prefix, wild := prefixOf(p); wild {
		return strings.HasPrefix(n, prefix)
	}
	return p == n
}

// coversSegment reports whether p matches all that q matches. Neither is '**'.
func coversSegment(p, q string) bool {
	prefix, wild := prefixOf(p)
	narrower, _ := prefixOf(q)
	return p == q || wild && strings.HasPrefix(narrower, prefix)
}

// overlapsSegment reports whether p and q match a common segment. Neither is '**'.
func overlapsSegment(p, q string) bool {
	return coversSegment(p, q) || coversSegment(q, p)
}

func match(pattern, name string, sep byte) bool {
	for {
		p, prest, pmore := cutSegment(pattern, sep)
		if p == wildRest {
			return true
		}
		n, nrest, nmore := cutSegment(name, sep)
		if !matchSegment(p, n) {
			return false
		}
		if !pmore || !nmore {
			return pmore == nmore || (pmore && prest == wildRest)
		}
		pattern, name = prest, nrest
	}
}

// isDots reports whether a segment of a resource is "." or "..".
func isDots(segment string) bool { return segment == "." || segment == ".." }

// isOddSegment reports whether a segment of a resource is odd: empty, "." or "..".
func isOddSegment(segment string) bool { return segment == "" || isDots(segment) }

// isOdd reports whether any segment of the resource is odd.
func isOdd(resource string) bool { return anySegment(resource, isOddSegment) }

func anySegment(resource string, is func(segment string) bool) bool {
	for more := true; more; {
		var segment string
		if segment, resource, more = cutSegment(resource, '/'); is(segment) {
			return true
		}
	}
	return false
}

// matchOdd reports whether the pattern of an allow, which matches the resource as that of a
// deny, matches it too.
func matchOdd(pattern, resource string) bool {
	for {
		p, prest, pmore := cutSegment(pattern, '/')
		if p == wildRest {
			return !anySegment(resource, isDots)
		}
		r, rrest, rmore := cutSegment(resource, '/')
		if _, wild := prefixOf(p); wild && (isDots(r) || r == "" && prest != wildRest) {
			return false
		}
		if !pmore || !rmore {
			return true
		}
		pattern, resource = prest, rrest
	}
}

func covers(p, q string, sep byte) bool {
	for {
		ps, prest, pmore := cutSegment(p, sep)
		if ps == wildRest {
			return true
		}
		qs, qrest, qmore := cutSegment(q, sep)
		if qs == wildRest || !coversSegment(ps, qs) {
			return false
		}
		if !pmore || !qmore {
			return pmore == qmore || (pmore && prest == wildRest)
		}
		p, q = prest, qrest
	}
}

func overlaps(p, q string, sep byte) bool {
	for {
		ps, prest, pmore := cutSegment(p, sep)
		qs, qrest, qmore := cutSegment(q, sep)
		if ps == wildRest || qs == wildRest {
			return true
		}
		if !overlapsSegment(ps, qs) {
			return false
		}
		if !pmore || !qmore {
			return pmore == qmore || (pmore && prest == wildRest) || (qmore && qrest == wildRest)
		}
		p, q = prest, qrest
	}
}
