package bench

import (
	"log/slog"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/observe"
)

// sideOn makes a side of an engine.
type sideOn func(e *actors.Engine, name string, w *world) side

// counted is a side whose engine counts.
func counted(on sideOn, name string, w *world) side {
	return on(w.observedEngine(observe.NewCounters()), name, w)
}

// logged is a side whose engine counts, and logs denials.
func logged(on sideOn, name string, w *world) side {
	l := observe.NewLog(observe.LogOptions{Logger: slog.New(slog.DiscardHandler)})
	s := on(w.observedEngine(observe.Join(observe.NewCounters(), l)), name, w)
	stop := s.close
	s.close = func() { stop(); l.Close() }
	return s
}
