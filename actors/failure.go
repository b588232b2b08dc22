package actors

import (
	"log/slog"
	"sync"
)

// failure records that the log has failed. The engine then reads nothing from the log: active
// principals continue at the last delivered revision, and all others are denied.
type failure struct {
	once     sync.Once
	happened chan struct{}
	cause    error // valid when happened is closed
}

func (e *Engine) fail(cause error) {
	e.failure.once.Do(func() {
		e.failure.cause = cause
		close(e.failure.happened)
		e.log.Error("log failed: updates are rejected and principals not in memory are denied until a restart",
			slog.Any("error", cause))
	})
}

// Failure returns why the log has failed, nil if it has not. A failed log rejects updates
// until a restart.
func (e *Engine) Failure() error {
	select {
	case <-e.failure.happened:
		return e.failure.cause
	default:
		return nil
	}
}
