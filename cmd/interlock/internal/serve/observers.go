package serve

import (
	"log/slog"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/observe"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/httpapi"
)

// observers count and log what the engine does.
type observers struct {
	counters *observe.Counters
	log      *observe.Log // nil if decisions are not logged
}

func newObservers(c *config.Config, log *slog.Logger) *observers {
	o := &observers{counters: observe.NewCounters()}
	if c.Log.Decisions != config.LogNone {
		o.log = observe.NewLog(observe.LogOptions{
			Logger: log, All: c.Log.Decisions == config.LogAll, PerSecond: int(c.Log.DecisionsPerSecond), RequestID: httpapi.RequestID,
		})
	}
	return o
}

// observer returns the observer of the engine.
func (o *observers) observer() actors.Observer {
	if o.log == nil {
		return o.counters
	}
	return observe.Join(o.counters, o.log)
}

// close writes what is left of the log. The engine must be closed.
func (o *observers) close() {
	if o.log != nil {
		o.log.Close()
	}
}
