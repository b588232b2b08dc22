package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Explanation is a decision in words that a person can check against the policy file.
type Explanation struct {
	Allowed  bool
	Reason   Reason
	Revision uint64
	// Role is the role whose permission decided, and Path how the principal comes to it:
	// first the granted role, then one after the other what it inherits, last Role.
	// Empty when no permission decided.
	Role string
	Path []string
	// Grant is the grant that gives the first role of the path, nil if none did or if it
	// is not known any more.
	Grant *Grant
	// Permission is the one that decided, nil if none did; Number is its place in the
	// role, from 0.
	Permission *Permission
	Number     int
	// ConditionError is why the condition of Permission could not be evaluated, such as
	// "no such property resource.properties.amount". It is nil unless Reason is [ReasonConditionError].
	ConditionError error
}

// Explain says which role, by which grant and inheritance, and which permission decided.
// It searches the policy and may evaluate a condition again, which is too slow for a hot path.
func (d *Decision) Explain() Explanation {
	ex := Explanation{Allowed: d.Allowed, Reason: d.Reason, Revision: d.Revision}
	if !d.byPermission() {
		return ex
	}
	role, _ := d.table.roles.find(number(d.role))
	ex.Role = role.name
	for i := range role.permissions {
		if p := &role.permissions[i]; d.decidedBy(p) {
			ex.Permission, ex.Number = p, i
			break
		}
	}
	if d.failed != nil {
		ex.ConditionError = d.conditionError()
	}
	ex.Grant = d.grant()
	if ex.Grant != nil {
		ex.Path = d.table.path(ex.Grant.Role, d.role)
	}
	return ex
}

// conditionError evaluates the condition again, at the time of the decision, so that a
// decision does not have to keep the error.
func (d *Decision) conditionError() error {
	q := *d.failed
	q.Now = func() time.Time { return time.Unix(0, d.Time).UTC() }
	_, err := d.when.eval(&conditionInput{query: &q})
	if err == nil {
		return nil
	}
	if missing := missingProperty(d.when.text, q.Properties); missing != "" && strings.HasPrefix(err.Error(), "no such key: ") {
		return fmt.Errorf("no such property %s", missing)
	}
	return err
}

var propertyPath = regexp.MustCompile(`\b(?:(?:principal|action|resource)\.properties|context)(?:\.\w+)+`)

// missingProperty returns the first path to a property in the text that leads nowhere, up to
// what is missing, such as "resource.properties.amount"; "" if there is none.
func missingProperty(text string, p *Properties) string {
	if p == nil {
		p = &Properties{}
	}
	roots := map[string]map[string]any{
		"principal.properties": p.Principal, "action.properties": p.Action, "resource.properties": p.Resource, "context": p.Context,
	}
	for _, path := range propertyPath.FindAllString(text, -1) {
		for root, properties := range roots {
			rest, ok := strings.CutPrefix(path, root+".")
			if !ok {
				continue
			}
			at := root
			for step := range strings.SplitSeq(rest, ".") {
				at += "." + step
				value, known := properties[step]
				if !known {
					return at
				}
				if properties, ok = value.(map[string]any); !ok {
					break
				}
			}
		}
	}
	return ""
}

// byPermission reports whether a permission decided.
func (d *Decision) byPermission() bool {
	switch d.Reason {
	case ReasonAllowed, ReasonDeniedByRule, ReasonConditionError:
		return d.table != nil
	}
	return false
}

// RoleOf returns the role whose permission decided a verdict of this table, empty if none did.
func (t *Table) RoleOf(v Verdict) string {
	d := Decision{Reason: v.reason, table: t}
	if !d.byPermission() {
		return ""
	}
	role, _ := t.roles.find(number(v.role))
	return role.name
}

// decidedBy reports whether the decision follows from that permission of the role. Of
// permissions that say the same, each is right.
func (d *Decision) decidedBy(p *Permission) bool {
	return p.Effect == d.effect && (p.When == nil) == (d.when == nil) && p.When.String() == d.when.String() &&
		slices.ContainsFunc(p.Actions, func(a ActionPattern) bool { return a.Matches(d.action) }) &&
		slices.ContainsFunc(p.Resources, func(r ResourcePattern) bool { return d.matches(p.Effect, r) })
}

// matches reports whether a pattern of a permission with that effect matches what was asked.
func (d *Decision) matches(effect Effect, r ResourcePattern) bool {
	if effect == Deny {
		return r.MatchesDeny(d.what)
	}
	return r.Matches(d.what)
}

// grant finds one that gives the deciding role for what was asked, one without limits
// first. What denies needs not be within a grant's limits.
func (d *Decision) grant() *Grant {
	var best *Grant
	given := map[string]bool{}
	gives := func(role string) bool {
		yes, known := given[role]
		if !known {
			yes = d.table.reaches(role, d.role)
			given[role] = yes
		}
		return yes
	}
	look := func(g *Grant) {
		if g.ExpiredAt(d.Time) || !gives(g.Role) {
			return
		}
		if len(g.Within) > 0 && d.effect == Allow && !meets(g.Within, d.what) {
			return
		}
		if best == nil || len(g.Within) < len(best.Within) {
			best = g
		}
	}
	if d.record != nil {
		for i := range d.record.Grants {
			look(&d.record.Grants[i])
		}
	}
	for g := range d.table.patterns.Matching(d.who) {
		look(g)
	}
	return best
}

// path returns the shortest way of inheritance from one role to another.
func (t *Table) path(from string, to int32) []string {
	type step struct {
		name string
		back *step
	}
	queue := []*step{{name: from}}
	seen := map[string]bool{from: true}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if n, ok := t.numbers.find(name(s.name)); ok && n == to {
			var names []string
			for ; s != nil; s = s.back {
				names = append(names, s.name)
			}
			slices.Reverse(names)
			return names
		}
		if role := t.Role(s.name); role != nil {
			for _, parent := range role.inherits {
				if !seen[parent] {
					seen[parent] = true
					queue = append(queue, &step{name: parent, back: s})
				}
			}
		}
	}
	return nil
}

// String puts the explanation into one sentence.
func (ex Explanation) String() string {
	var b strings.Builder
	if ex.Allowed {
		b.WriteString("allowed")
	} else {
		b.WriteString("denied (" + ex.Reason.String() + ")")
	}
	if ex.Permission != nil {
		b.WriteString(" by role " + ex.Role + ", permission " + ex.Permission.String())
	}
	if ex.ConditionError != nil {
		b.WriteString("; the condition failed: " + ex.ConditionError.Error())
	}
	if ex.Grant != nil {
		b.WriteString("; granted to " + ex.Grant.Subject() + " as " + strings.Join(ex.Path, " → "))
		if len(ex.Grant.Within) > 0 {
			b.WriteString(" within " + joinResources(ex.Grant.Within))
		}
		if !ex.Grant.Expires.IsZero() {
			b.WriteString(" until " + ex.Grant.Expires.UTC().Format(time.RFC3339))
		}
	}
	return b.String()
}

// String describes the permission on one line.
func (p *Permission) String() string {
	actions := make([]string, len(p.Actions))
	for i, a := range p.Actions {
		actions[i] = a.text
	}
	s := p.Effect.String() + " [" + strings.Join(actions, ", ") + "] on [" + joinResources(p.Resources) + "]"
	if p.When != nil {
		s += " when " + p.When.text
	}
	return s
}

func joinResources(patterns []ResourcePattern) string {
	texts := make([]string, len(patterns))
	for i, p := range patterns {
		texts[i] = p.text
	}
	return strings.Join(texts, ", ")
}
