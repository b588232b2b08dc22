package httpapi

import (
	"net/http"

	"github.com/interlock-authz/interlock/actors"
)

// health is what /healthz says.
type health struct {
	// Status is "ok", or "red" when something needs an operator.
	Status string `json:"status"`
	// Faults say what.
	Faults []string `json:"faults,omitempty"`
}

// NewOperatorAPI returns the handler of the operators' listener, which is plain and
// belongs on loopback: /healthz says whether all is well, /readyz whether the server takes
// requests. damage, which may be nil, returns what is wrong with the store.
//
// A server that is not well answers /healthz with 503, and goes on with what it can answer:
// so /healthz is for alerts, and not what a restart should hang on.
func NewOperatorAPI(engine *actors.Engine, damage func() error) http.Handler {
	r := NewRouter(nil)
	r.Handle("/healthz", handle(nil, func(w http.ResponseWriter, _ *http.Request) error {
		h := health{Status: "ok"}
		if err := engine.Failure(); err != nil {
			h.Faults = append(h.Faults, err.Error())
		}
		if damage != nil {
			if err := damage(); err != nil {
				h.Faults = append(h.Faults, err.Error())
			}
		}
		if len(h.Faults) > 0 {
			h.Status = "red"
			return writeJSON(w, http.StatusServiceUnavailable, h)
		}
		return writeJSON(w, http.StatusOK, h)
	})).Methods(http.MethodGet)
	r.Handle("/readyz", handle(nil, func(w http.ResponseWriter, _ *http.Request) error {
		if engine.Closing() {
			return actors.ErrClosed
		}
		return writeJSON(w, http.StatusOK, map[string]any{"status": "ready", "revision": engine.Revision(), "active": engine.Active()})
	})).Methods(http.MethodGet)
	return r
}
