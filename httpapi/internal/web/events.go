package web

import (
	"bytes"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
)

// EventStream writes server-sent events (HTML standard of the WHATWG). One goroutine uses it. A
// client that does not read is disconnected.
type EventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	idle    time.Duration
	text    bytes.Buffer
}

// NewEventStream sets the headers of an answer that is a stream. idle bounds the time for one
// event.
func NewEventStream(w http.ResponseWriter, idle time.Duration) *EventStream {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	return &EventStream{w: w, control: http.NewResponseController(w), idle: idle}
}

// Send sends an event with an ID, empty for none, and a value as JSON.
func (s *EventStream) Send(event, id string, value any) error {
	data, err := json.Marshal(value, json.Deterministic(true), LenientText)
	if err != nil {
		return err
	}
	s.text.Reset()
	if id != "" {
		s.text.WriteString("id: " + id + "\n")
	}
	s.text.WriteString("event: " + event + "\ndata: ")
	s.text.Write(data)
	s.text.WriteString("\n\n")
	return s.flush(s.text.Bytes())
}

// Heartbeat sends a comment, which clients ignore.
func (s *EventStream) Heartbeat() error { return s.flush([]byte(": \n\n")) }

func (s *EventStream) flush(text []byte) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(s.idle)); err != nil {
		return err
	}
	if _, err := s.w.Write(text); err != nil {
		return err
	}
	return s.control.Flush()
}
