package httpapi

import (
	"net/http"
	"time"

	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/actors/policy"
)

// principalDocument is what GET /v1/principals answers.
type principalDocument struct {
	Principal   string              `json:"principal"`
	Revision    uint64              `json:"revision"`
	Grants      []policy.GrantSpec  `json:"grants"`
	Roles       []heldRole          `json:"roles"`
	Permissions []effectiveDocument `json:"permissions"`
}

// heldRole is a role that the principal holds, by which grants.
type heldRole struct {
	Name string   `json:"name"`
	Via  []string `json:"via"`
}

// effectiveDocument is a permission that the principal has, by which role and within which
// limits.
type effectiveDocument struct {
	Role string `json:"role"`
	policy.PermissionSpec
	Within  []string `json:"within,omitempty"`
	Expires string   `json:"expires,omitempty"`
}

// getPrincipal answers with one principal's grants, roles and permissions.
func (a *adminAPI) getPrincipal(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.may(r, control.ActionRead, control.ResourcePolicy); err != nil {
		return err
	}
	if err := onlyQuery(r, "id"); err != nil {
		return err
	}
	who, err := policy.ParsePrincipal(r.URL.Query().Get("id"))
	if err != nil {
		return policy.At("id", err)
	}
	var doc principalDocument
	if err := a.engine.View(r.Context(), func(v policy.View) { doc = describePrincipal(v, who, time.Now().UnixNano()) }); err != nil {
		return err
	}
	w.Header().Set("ETag", a.etag(doc.Revision))
	return writeJSON(w, http.StatusOK, &doc)
}

func describePrincipal(v policy.View, who policy.Principal, now int64) principalDocument {
	doc := principalDocument{
		Principal: who.String(), Revision: v.Revision(),
		Grants: []policy.GrantSpec{}, Roles: []heldRole{}, Permissions: []effectiveDocument{},
	}
	places := map[string]int{}
	for _, g := range policy.GrantsOf(v, who) {
		spec := policy.SpecOfGrant(&g)
		doc.Grants = append(doc.Grants, spec)
		if g.ExpiredAt(now) {
			continue
		}
		roles := map[string]*policy.Role{}
		policy.Reach(v, g.Role, roles)
		for _, name := range sortedNames(roles) {
			i, seen := places[name]
			if !seen {
				i = len(doc.Roles)
				places[name] = i
				doc.Roles = append(doc.Roles, heldRole{Name: name})
			}
			doc.Roles[i].Via = append(doc.Roles[i].Via, g.Subject()+" "+g.Role)
			for _, p := range policy.SpecOfRole(roles[name]).Permissions {
				doc.Permissions = append(doc.Permissions, effectiveDocument{Role: name, PermissionSpec: p, Within: spec.Within, Expires: spec.Expires})
			}
		}
	}
	return doc
}

// getLeases answers with the operations in flight.
func (a *adminAPI) getLeases(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.may(r, control.ActionRead, control.ResourceLeases); err != nil {
		return err
	}
	if err := onlyQuery(r, "principal"); err != nil {
		return err
	}
	var who policy.Principal
	if id := r.URL.Query().Get("principal"); id != "" {
		var err error
		if who, err = policy.ParsePrincipal(id); err != nil {
			return policy.At("principal", err)
		}
	}
	leases, err := a.engine.Leases(r.Context(), who)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"leases": leaseDocuments(leases)})
}
