package admin

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// getPrincipal answers with the grants, roles and permissions of one principal.
func (a *api) getPrincipal(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r, "id"); err != nil {
		return err
	}
	who, err := policy.ParsePrincipal(r.URL.Query().Get("id"))
	if err != nil {
		return policy.At("id", err)
	}
	var doc client.Principal
	if err := a.engine.View(r.Context(), func(v policy.View) { doc = describePrincipal(v, who, time.Now().UnixNano()) }); err != nil {
		return err
	}
	w.Header().Set("ETag", a.etag(doc.Revision))
	return web.WriteJSON(w, http.StatusOK, &doc)
}

func describePrincipal(v policy.View, who policy.Principal, now int64) client.Principal {
	doc := client.Principal{
		Principal: who.String(), Revision: v.Revision(),
		Grants: []policy.GrantSpec{}, Roles: []client.HeldRole{}, Permissions: []client.HeldPermission{},
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
		for _, name := range slices.Sorted(maps.Keys(roles)) {
			i, seen := places[name]
			if !seen {
				i = len(doc.Roles)
				places[name] = i
				doc.Roles = append(doc.Roles, client.HeldRole{Name: name})
			}
			doc.Roles[i].Via = append(doc.Roles[i].Via, g.Subject()+" "+g.Role)
			for _, p := range policy.SpecOfRole(roles[name]).Permissions {
				doc.Permissions = append(doc.Permissions, client.HeldPermission{Role: name, PermissionSpec: p, Within: spec.Within, Expires: spec.Expires})
			}
		}
	}
	return doc
}
