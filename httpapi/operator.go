package httpapi

import (
	"net/http"

	"github.com/interlock-authz/interlock/actors"
)

// NewOperatorAPI returns the handler of the operators' listener, which is plain and
// belongs on loopback: /healthz says that the process answers, /readyz that it takes
// requests.
func NewOperatorAPI(engine *actors.Engine) http.Handler {
	r := NewRouter(nil)
	r.Handle("/healthz", handle(nil, func(w http.ResponseWriter, _ *http.Request) error {
		return writeJSON(w, http.StatusOK, map[string]any{"status": "ok"})
	})).Methods(http.MethodGet)
	r.Handle("/readyz", handle(nil, func(w http.ResponseWriter, _ *http.Request) error {
		if engine.Closing() {
			return actors.ErrClosed
		}
		return writeJSON(w, http.StatusOK, map[string]any{"status": "ready", "revision": engine.Revision(), "active": engine.Active()})
	})).Methods(http.MethodGet)
	return r
}
