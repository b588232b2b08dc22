package actors

import (
	"log/slog"
	"sync"
)

// failure is the end of the engine's log. From then on nothing is read from it: active
// principals go on at the last delivered revision, and all others are denied.
type failure struct {
	once     sync.Once
	happened chan struct{}
	cause    error // to be read once happened is closed
}

func (e *Engine) fail(cause error) {
	e.failure.once.Do(func() {
		e.failure.cause = cause
		close(e.failure.happened)
		e.log.Error("the log has failed: no updates are taken, and principals that are not in memory are denied, until a restart",
			slog.Any("error", cause))
	})
}

// Failure returns why the log has failed, nil if it has not. A failed log takes no
// updates until a restart.
func (e *Engine) Failure() error {
	select {
	case <-e.failure.happened:
		return e.failure.cause
	default:
		return nil
	}
}
