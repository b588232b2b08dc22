package httpapi

import (
	"errors"
	"log/slog"
	"net/http"
	"os"

	"github.com/go-json-experiment/json"
)

// handlerFunc is a handler that returns what went wrong in place of answering it.
type handlerFunc func(http.ResponseWriter, *http.Request) error

// handle makes an http.Handler of fn: its error is answered with [WriteProblem]. When
// the answer has begun already, which nothing can mend, the error is logged and the
// connection (with HTTP/2 the stream) is broken off, so that no client takes half of an
// answer for the whole. The log is used unless the request brings its own.
func handle(log *slog.Logger, fn handlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = withDefaultLogger(r, log)
		answer := recorded(w)
		if err := fn(answer, r); err != nil {
			answer.fail(r, err)
		}
	})
}

// response is an http.ResponseWriter that knows whether the answer has begun.
// [http.ResponseController] reaches through it.
type response struct {
	http.ResponseWriter
	conn   *connection // nil if it is not known
	status int
	bytes  int64
}

// recorded returns w itself if it is a response already.
func recorded(w http.ResponseWriter) *response {
	if already, ok := w.(*response); ok {
		return already
	}
	return &response{ResponseWriter: w}
}

// Unwrap serves [http.ResponseController].
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.starts(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(data []byte) (int, error) {
	w.begin()
	n, err := w.ResponseWriter.Write(data)
	w.bytes += int64(n)
	return n, err
}

// FlushError begins the answer as well.
func (w *response) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush implements [http.Flusher] for code that asks for it.
func (w *response) Flush() { _ = w.FlushError() }

func (w *response) begin() {
	if w.status == 0 {
		w.starts(http.StatusOK)
	}
}

// starts notes the status, and tells the client if this is the connection's last answer:
// the server then closes it (HTTP/1.1) or sends GOAWAY (HTTP/2).
func (w *response) starts(status int) {
	w.status = status
	if status != http.StatusSwitchingProtocols && w.conn.closing() {
		w.Header().Set("Connection", "close")
	}
}

func (w *response) begun() bool { return w.status != 0 }

// fail answers with the problem, or breaks off an answer that has begun.
func (w *response) fail(r *http.Request, err error) {
	if !w.begun() {
		WriteProblem(w, r, err)
		return
	}
	level := slog.LevelError
	switch {
	case r.Context().Err() != nil: // the client has gone
		level = slog.LevelDebug
	case errors.Is(err, os.ErrDeadlineExceeded), problemOf(err).Status < 500: // it does not read, or may not any more
		level = slog.LevelInfo
	}
	loggerOf(r.Context()).LogAttrs(r.Context(), level, "answer broken off", slog.Any("cause", err))
	panic(http.ErrAbortHandler)
}

// writeJSON answers with a value that is small, and no longer true a moment later.
func writeJSON(w http.ResponseWriter, status int, value any) error {
	text, err := json.Marshal(value, json.Deterministic(true), lenientText)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, err = w.Write(append(text, '\n'))
	return err
}
