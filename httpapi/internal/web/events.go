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
	if err := s.Queue(event, id, value); err != nil {
		return err
	}
	return s.Flush()
}

// Queue is Send for an event that Flush sends.
func (s *EventStream) Queue(event, id string, value any) error {
	data, err := json.Marshal(value, json.Deterministic(true), LenientText)
	if err != nil {
		return err
	}
	if id != "" {
		s.text.WriteString("id: " + id + "\n")
	}
	s.text.WriteString("event: " + event + "\ndata: ")
	s.text.Write(data)
	s.text.WriteString("\n\n")
	return nil
}

// Heartbeat sends a comment, which clients ignore.
func (s *EventStream) Heartbeat() error {
	s.text.WriteString(": \n\n")
	return s.Flush()
}

// Flush sends the events that are queued.
func (s *EventStream) Flush() error {
	if s.text.Len() == 0 {
		return nil
	}
	defer s.text.Reset()
	if err := s.control.SetWriteDeadline(time.Now().Add(s.idle)); err != nil {
		return err
	}
	if _, err := s.w.Write(s.text.Bytes()); err != nil {
		return err
	}
	return s.control.Flush()
}
