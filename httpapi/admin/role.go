package admin

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// getRole answers with one role and its grants, without the rest of the policy.
func (a *api) getRole(w http.ResponseWriter, r *http.Request) error {
	if err := a.authorize(r, control.ActionRead, control.ResourcePolicy); err != nil {
		return err
	}
	if err := onlyQuery(r); err != nil {
		return err
	}
	name, err := url.PathUnescape(mux.Vars(r)["role"])
	if err == nil {
		err = policy.CheckRoleName(name)
	}
	if err != nil {
		return policy.At("role", err)
	}
	var found *grantedRole
	if err := a.engine.View(r.Context(), func(v policy.View) { found = findRole(v, name) }); err != nil {
		return err
	}
	if found.role == nil {
		return web.NewProblem(http.StatusNotFound, "unknown-role", "Unknown role", "The policy has no role of that name.")
	}
	doc := found.document()
	w.Header().Set("ETag", a.etag(doc.Revision))
	return web.WriteJSON(w, http.StatusOK, &doc)
}

// grantedRole is a role with its grants at one revision.
type grantedRole struct {
	revision uint64
	role     *policy.Role // nil if the policy does not have it
	grants   []policy.Grant
}

// findRole leaves sorting and encoding for later, because updates may be waiting.
func findRole(v policy.View, name string) *grantedRole {
	g := &grantedRole{revision: v.Revision(), role: v.Role(name)}
	add := func(grants []policy.Grant) {
		for i := range grants {
			if grants[i].Role == name {
				g.grants = append(g.grants, grants[i])
			}
		}
	}
	for who := range v.Holders(name) {
		if r := v.Record(who); r != nil { // else the store failed, and View returns the error
			add(r.Grants)
		}
	}
	for given := range v.Patterns().All() {
		if given.Role == name {
			g.grants = append(g.grants, *given)
		}
	}
	return g
}

// document lists exact grants first, in the order of their principals, then pattern grants.
func (g *grantedRole) document() client.Role {
	slices.SortStableFunc(g.grants, func(a, b policy.Grant) int { return a.Holding().Compare(b.Holding()) })
	doc := client.Role{RoleSpec: policy.SpecOfRole(g.role), Revision: g.revision, Grants: make([]policy.GrantSpec, len(g.grants))}
	for i := range g.grants {
		doc.Grants[i] = policy.SpecOfGrant(&g.grants[i])
	}
	return doc
}
