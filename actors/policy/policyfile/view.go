package policyfile

import (
	"iter"
	"maps"
	"slices"

	"github.com/interlock-authz/interlock/actors/policy"
)

// View returns the file as a policy at that revision, for [policy.Ask], for drafts and for
// preconditions. No certificate is revoked in it. The view copies nothing that the file
// points to: the file must not change while the view is used. The view is safe for
// concurrent use.
func (f *File) View(revision uint64) policy.View {
	v := &view{file: f, revision: revision, records: map[policy.Principal]*policy.Record{}, holders: map[string][]policy.Principal{}}
	var patterns []policy.Grant
	for i := range f.Grants {
		g := &f.Grants[i]
		if !g.Exact() {
			patterns = append(patterns, *g)
			continue
		}
		r := v.records[g.Principal]
		if r == nil {
			r = &policy.Record{Revision: revision}
			v.records[g.Principal] = r
		}
		if !slices.ContainsFunc(r.Grants, func(h policy.Grant) bool { return h.Role == g.Role }) {
			v.holders[g.Role] = append(v.holders[g.Role], g.Principal)
		}
		r.Grants = append(r.Grants, *g)
	}
	v.patterns = policy.NewPatternGrants(patterns)
	return v
}

// view indexes a file by principal.
type view struct {
	file     *File
	revision uint64
	records  map[policy.Principal]*policy.Record
	patterns *policy.PatternGrants
	holders  map[string][]policy.Principal // by role
}

func (v *view) Revision() uint64                           { return v.revision }
func (v *view) Role(name string) *policy.Role              { return v.file.Roles[name] }
func (v *view) Roles() iter.Seq[*policy.Role]              { return maps.Values(v.file.Roles) }
func (v *view) Record(who policy.Principal) *policy.Record { return v.records[who] }
func (v *view) Patterns() *policy.PatternGrants            { return v.patterns }
func (v *view) Revoked(policy.CertificateID) bool          { return false }
func (v *view) Holders(role string) iter.Seq[policy.Principal] {
	return slices.Values(v.holders[role])
}
