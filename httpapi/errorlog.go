package httpapi

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"
)

// maxFailures is how many failed connections are logged in a second. A stranger causes each of
// them, so the others are counted, and logged with level debug only.
const maxFailures = 10

// errorLog logs the messages of net/http, mostly failed handshakes, as values. It is safe for
// concurrent use.
type errorLog struct {
	log *slog.Logger

	mu      sync.Mutex
	logged  int // in the current second
	counted int // that were not logged
	running bool
}

// Write implements [io.Writer] for package log, which calls it once for each message.
func (e *errorLog) Write(line []byte) (int, error) {
	level := slog.LevelInfo
	if !e.mayLog() {
		level = slog.LevelDebug
	}
	e.log.Log(context.Background(), level, "connection failed", slog.String("detail", string(bytes.TrimSpace(line))))
	return len(line), nil
}

func (e *errorLog) mayLog() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.running {
		e.running = true
		time.AfterFunc(time.Second, e.nextSecond)
	}
	if e.logged < maxFailures {
		e.logged++
		return true
	}
	e.counted++
	return false
}

func (e *errorLog) nextSecond() {
	e.mu.Lock()
	counted := e.counted
	e.logged, e.counted, e.running = 0, 0, false
	e.mu.Unlock()
	if counted > 0 {
		e.log.Info("more connections failed", slog.Int("count", counted))
	}
}
