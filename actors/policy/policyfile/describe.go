package policyfile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Description says what one change changes in a policy.
type Description struct {
	Change policy.Change
	// Lines has one line for each field, such as
	//
	//	role order-writer: + permission allow [orders:write] on [orders/*]
	//	role order-writer: - inherits base
	//	grant user:alice order-writer: expires never → 2027-01-01T00:00:00Z
	//	- grant user:bob order-writer within [orders/eu/**]
	//
	// It has at least one line.
	Lines []string
}

// DescribeChanges returns what each change changes in the policy, given the changes before it. It leaves out changes that
// change nothing, so the result is empty if and only if the changes leave the policy as it is. [policy.Draft.Apply] must
// accept the changes in this order; DescribeChanges returns its error otherwise.
func DescribeChanges(now policy.View, changes []policy.Change) ([]Description, error) {
	d := &describer{draft: policy.NewDraft(now, now.Revision()+1)}
	var descriptions []Description
	for i, c := range changes {
		d.lines = nil
		d.describe(c)
		if err := d.draft.Apply(c); err != nil {
			return nil, policy.At(fmt.Sprintf("changes[%d]", i), err)
		}
		if len(d.lines) > 0 {
			descriptions = append(descriptions, Description{c, d.lines})
		}
	}
	return descriptions, nil
}

// describer collects the lines of one change after the other.
type describer struct {
	draft *policy.Draft
	lines []string
}

func (d *describer) add(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *describer) describe(c policy.Change) {
	switch c.Op {
	case policy.OpPutRole:
		if c.Role != nil {
			d.role(d.draft.Role(c.Role.Name()), c.Role)
		}
	case policy.OpDeleteRole:
		d.add("role %s: deleted", c.Name)
	case policy.OpGrant:
		d.grant(&c.Grant)
	case policy.OpRevoke:
		d.revoke(&c.Grant)
	case policy.OpRevokeCertificate:
		if !d.draft.Revoked(c.Certificate) {
			d.add("certificate %s: revoked", c.Certificate)
		}
	case policy.OpUnrevokeCertificate:
		if d.draft.Revoked(c.Certificate) {
			d.add("certificate %s: no longer revoked", c.Certificate)
		}
	}
}

// role compares the parts of a role as sets; before is nil for a new role.
func (d *describer) role(before, after *policy.Role) {
	if before == nil {
		d.add("role %s: new", after.Name())
		before = &policy.Role{}
	}
	lines := len(d.lines)
	d.parts(after.Name(), "inherits ", before.Inherits(), after.Inherits())
	d.parts(after.Name(), "permission ", permissionTexts(before), permissionTexts(after))
	reordered := !slices.Equal(before.Inherits(), after.Inherits()) || !slices.Equal(permissionTexts(before), permissionTexts(after))
	if len(d.lines) == lines && reordered {
		d.add("role %s: another order", after.Name())
	}
}

func permissionTexts(r *policy.Role) []string {
	texts := make([]string, len(r.Permissions()))
	for i := range texts {
		texts[i] = r.Permissions()[i].String()
	}
	return texts
}

// parts adds a line for each text that only one of the lists has, or has more often.
func (d *describer) parts(role, kind string, before, after []string) {
	count := map[string]int{}
	for _, text := range before {
		count[text]++
	}
	var added []string
	for _, text := range after {
		if count[text]--; count[text] < 0 {
			added = append(added, text)
		}
	}
	for _, text := range before {
		if count[text] > 0 {
			count[text]--
			d.add("role %s: - %s%s", role, kind, text)
		}
	}
	for _, text := range added {
		d.add("role %s: + %s%s", role, kind, text)
	}
}

func (d *describer) grant(g *policy.Grant) {
	held := d.held(g, (*policy.Grant).Same)
	if len(held) == 0 {
		d.add("+ %s", describeGrant(g))
		return
	}
	before := held[0]
	if !before.Expires.Equal(g.Expires) {
		d.add("%s: expires %s → %s", grantName(g), expiry(&before), expiry(g))
	}
	if before.Reason != g.Reason {
		d.add("%s: reason %q → %q", grantName(g), before.Reason, g.Reason)
	}
}

func (d *describer) revoke(g *policy.Grant) {
	for _, h := range d.held(g, func(g, h *policy.Grant) bool {
		return g.Holding() == h.Holding() && (len(g.Within) == 0 || g.Same(h))
	}) {
		d.add("- %s", describeGrant(&h))
	}
}

// held returns the grants of g's holder for which match is true.
func (d *describer) held(g *policy.Grant, match func(g, h *policy.Grant) bool) (held []policy.Grant) {
	if !g.Exact() {
		for _, h := range d.draft.Patterns().With(g) {
			if match(g, h) {
				held = append(held, *h)
			}
		}
		return held
	}
	if r := d.draft.Record(g.Principal); r != nil {
		for i := range r.Grants {
			if match(g, &r.Grants[i]) {
				held = append(held, r.Grants[i])
			}
		}
	}
	return held
}

// grantName names a grant by what it is: holder, role and limits.
func grantName(g *policy.Grant) string {
	s := "grant " + g.Subject() + " " + g.Role
	if len(g.Within) > 0 {
		s += " within [" + strings.Join(limits(g), ", ") + "]"
	}
	return s
}

func describeGrant(g *policy.Grant) string {
	s := grantName(g)
	if !g.Expires.IsZero() {
		s += " expires " + expiry(g)
	}
	if g.Reason != "" {
		s += fmt.Sprintf(" reason %q", g.Reason)
	}
	return s
}

func expiry(g *policy.Grant) string {
	if g.Expires.IsZero() {
		return "never"
	}
	return g.Expires.UTC().Format(time.RFC3339Nano)
}
