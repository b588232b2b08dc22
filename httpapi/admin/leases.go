package admin

import (
	"net/http"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// getLeases answers with the operations in flight.
func (a *api) getLeases(w http.ResponseWriter, r *http.Request) error {
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
	return web.WriteJSON(w, http.StatusOK, &client.Operations{Leases: leaseDocuments(leases)})
}
