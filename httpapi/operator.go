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

// OperatorOptions of [NewOperatorAPI].
type OperatorOptions struct {
	Engine *actors.Engine
	// Faults returns what an operator should mend besides the engine; nil if there is nothing
	// else that can break.
	Faults func() error
	// Metrics answers /metrics; nil for none.
	Metrics http.Handler
}

// NewOperatorAPI returns the handler of the operators' listener, which is plain and
// belongs on loopback: /healthz says whether all is well, /readyz whether the server takes
// requests, /metrics counts.
//
// A server that is not well answers /healthz with 503, and goes on with what it can answer:
// so /healthz is for alerts, and not what a restart should hang on.
func NewOperatorAPI(o OperatorOptions) http.Handler {
	r := NewRouter(nil)
	if o.Metrics != nil {
		r.Handle("/metrics", o.Metrics).Methods(http.MethodGet)
	}
	r.Handle("/healthz", handle(nil, func(w http.ResponseWriter, _ *http.Request) error {
		h := health{Status: "ok"}
		if err := o.Engine.Failure(); err != nil {
			h.Faults = append(h.Faults, err.Error())
		}
		if o.Faults != nil {
			if err := o.Faults(); err != nil {
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
		if o.Engine.Closing() {
			return actors.ErrClosed
		}
		return writeJSON(w, http.StatusOK, map[string]any{"status": "ready", "revision": o.Engine.Revision(), "active": o.Engine.Active()})
	})).Methods(http.MethodGet)
	return r
}
