package httpapi

import (
	"net/http"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
	"github.com/interlock-authz/interlock/httpapi/openapi"
)

// health is the answer of /healthz, and of /readyz if the server is red.
type health struct {
	// Status is "ok" or "red".
	Status string `json:"status"`
	// Faults say what an operator has to repair.
	Faults []string `json:"faults,omitempty"`
}

// OperatorOptions of [NewOperatorAPI].
type OperatorOptions struct {
	Engine *actors.Engine
	// Faults returns what an operator has to repair besides the engine; nil for nothing.
	Faults func() error
	// Red returns why the server must not get requests although it accepts them, for /readyz; nil for
	// nothing.
	Red func() error
	// Metrics answers /metrics; nil for none.
	Metrics http.Handler
	// Hosts are names that a request may have as Host, besides localhost and IP addresses. Others
	// are refused, so that no page can reach the listener by a name of its own.
	Hosts []string
}

// NewOperatorAPI returns the handler of the operators' listener, which has no TLS and belongs on
// loopback: /healthz reports faults, /readyz whether the server should get requests, /metrics
// serves metrics, and [openapi.Path] describes them.
//
// A server with a fault answers /healthz with 503 and continues to serve. Use /healthz for
// alerts, not to restart the server.
func NewOperatorAPI(o OperatorOptions) http.Handler {
	return web.ForAPI(web.ForHosts(o.Hosts, newOperatorRouter(o)))
}

func newOperatorRouter(o OperatorOptions) *mux.Router {
	r := NewRouter(nil)
	r.Handle(openapi.Path, openapi.Operator()).Methods(http.MethodGet)
	if o.Metrics != nil {
		r.Handle("/metrics", o.Metrics).Methods(http.MethodGet)
	}
	r.Handle("/healthz", web.Handle(nil, func(w http.ResponseWriter, _ *http.Request) error {
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
			return web.WriteJSON(w, http.StatusServiceUnavailable, h)
		}
		return web.WriteJSON(w, http.StatusOK, h)
	})).Methods(http.MethodGet)
	r.Handle("/readyz", web.Handle(nil, func(w http.ResponseWriter, _ *http.Request) error {
		if o.Engine.Closing() {
			return actors.ErrClosed
		}
		if o.Engine.Fenced() {
			return actors.ErrFenced
		}
		if o.Red != nil {
			if err := o.Red(); err != nil {
				return web.WriteJSON(w, http.StatusServiceUnavailable, health{Status: "red", Faults: []string{err.Error()}})
			}
		}
		return web.WriteJSON(w, http.StatusOK, map[string]any{"status": "ready", "revision": o.Engine.Revision(), "active": o.Engine.Active()})
	})).Methods(http.MethodGet)
	return r
}
