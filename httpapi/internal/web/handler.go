package web

import (
	"errors"
	"log/slog"
	"net/http"
	"os"

	"github.com/go-json-experiment/json"
)

// HandlerFunc is a handler that returns an error instead of answering it.
type HandlerFunc func(http.ResponseWriter, *http.Request) error

// Handle makes an http.Handler of fn: it answers an error with [WriteProblem]. If the answer
// has already begun, it logs the error and aborts the connection (the stream with HTTP/2), so
// that no client takes a partial answer for a complete one. The log is used unless the request
// has its own.
func Handle(log *slog.Logger, fn HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = withDefaultLogger(r, log)
		answer := Record(w, nil)
		if err := fn(answer, r); err != nil {
			answer.Fail(r, err)
		}
	})
}

// Response is an http.ResponseWriter that knows whether the answer has begun.
// [http.ResponseController] unwraps it.
type Response struct {
	http.ResponseWriter
	// Status is 0 until the answer has begun. Bytes counts the body.
	Status int
	Bytes  int64

	conn Connection
}

// Connection is what a Response knows of its connection.
type Connection interface {
	// Closing reports whether the next answer is the connection's last.
	Closing() bool
}

// Record returns w itself if it is a Response already. conn is nil if it is unknown.
func Record(w http.ResponseWriter, conn Connection) *Response {
	if already, ok := w.(*Response); ok {
		return already
	}
	return &Response{ResponseWriter: w, conn: conn}
}

// Unwrap serves [http.ResponseController].
func (w *Response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (w *Response) WriteHeader(status int) {
	if w.Status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.start(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *Response) Write(data []byte) (int, error) {
	w.Begin()
	n, err := w.ResponseWriter.Write(data)
	w.Bytes += int64(n)
	return n, err
}

// FlushError begins the answer as well.
func (w *Response) FlushError() error {
	w.Begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush implements [http.Flusher].
func (w *Response) Flush() { _ = w.FlushError() }

// Begin records status 200 unless the answer has already begun.
func (w *Response) Begin() {
	if w.Status == 0 {
		w.start(http.StatusOK)
	}
}

// start records the status. On the connection's last answer it makes the server close the
// connection (HTTP/1.1) or send GOAWAY (HTTP/2).
func (w *Response) start(status int) {
	w.Status = status
	if status != http.StatusSwitchingProtocols && w.conn != nil && w.conn.Closing() {
		w.Header().Set("Connection", "close")
	}
}

// Fail answers with the problem of err, or aborts an answer that has begun.
func (w *Response) Fail(r *http.Request, err error) {
	if w.Status == 0 {
		WriteProblem(w, r, err)
		return
	}
	level := slog.LevelError
	switch {
	case r.Context().Err() != nil: // the client is gone
		level = slog.LevelDebug
	case errors.Is(err, os.ErrDeadlineExceeded), ProblemOf(err).Status < 500: // the client does not read, or lost its right
		level = slog.LevelInfo
	}
	LoggerOf(r.Context()).LogAttrs(r.Context(), level, "answer aborted", slog.Any("cause", err))
	panic(http.ErrAbortHandler)
}

// WriteJSON answers with a small value that caches must not store.
func WriteJSON(w http.ResponseWriter, status int, value any) error {
	text, err := json.Marshal(value, json.Deterministic(true), LenientText)
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
