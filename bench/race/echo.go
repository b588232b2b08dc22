package race

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// echoer keeps operations open that send back what they are sent, and asks them after each
// revocation whether they still do.
type echoer struct {
	runner  *runner
	streams []*stream

	first atomic.Value // text: what became of a stream

	mu   sync.Mutex
	sent map[string]int64 // nonces, by when they were sent
	back []echo
}

// stream is one open operation.
type stream struct {
	client *client
	heard  chan struct{} // closed when something came back
	ended  chan struct{} // closed when it has; nil before it was opened
	lines  chan string
	hangUp chan struct{} // closed to end the request's body
	cancel context.CancelFunc
}

func (r *runner) newEchoer() (*echoer, error) {
	e := &echoer{runner: r, sent: map[string]int64{}}
	count := r.target.Echo.Streams
	if count == 0 {
		count = 4
	}
	for range count {
		c, err := r.target.newClient(&r.target.Echo.Request)
		if err != nil {
			return nil, fmt.Errorf("echo: %w", err)
		}
		e.streams = append(e.streams, &stream{client: c})
	}
	return e, nil
}

// established bounds the wait for a stream to be admitted.
const established = time.Second

// open opens the streams that are not, and waits until they have been admitted, or ended.
func (e *echoer) open(ctx context.Context) {
	for _, s := range e.streams {
		if s.ended != nil {
			select {
			case <-s.ended:
			default:
				continue
			}
		}
		var open context.Context
		open, s.cancel = context.WithCancel(ctx)
		s.heard, s.ended, s.lines, s.hangUp = make(chan struct{}), make(chan struct{}), make(chan string, 1), make(chan struct{})
		go e.run(open, s, s.hangUp)
	}
	limit := time.NewTimer(established)
	defer limit.Stop()
	for _, s := range e.streams {
		select {
		case <-s.heard:
		case <-s.ended:
		case <-limit.C:
			return
		}
	}
}

// run opens one stream and reads what comes back until it ends.
func (e *echoer) run(ctx context.Context, s *stream, hangUp <-chan struct{}) {
	heard, lines := s.heard, s.lines // open makes new ones when this has ended
	defer close(s.ended)
	body, writer := io.Pipe()
	defer func() { _ = body.Close() }()
	v := values{Number: int(e.runner.numbers.Add(1)), Run: e.runner.name}
	req, err := s.client.build(ctx, v, body)
	if err != nil {
		return
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		defer func() { _ = writer.Close() }()
		// HTTP/1.1 sends the headers with the first line.
		if _, err := io.WriteString(writer, e.runner.name+"\n"); err != nil {
			return
		}
		for {
			select {
			case <-done:
				return
			case <-hangUp:
				return
			case <-ctx.Done():
				return // the transport waits for the end of the body before it gives up
			case line := <-lines:
				if _, err := io.WriteString(writer, line+"\n"); err != nil {
					return
				}
			}
		}
	}()
	resp, err := s.client.http.Do(req)
	if err != nil {
		e.first.Store(err.Error())
		return
	}
	e.first.Store("status " + resp.Status)
	defer resp.Body.Close()
	text := bufio.NewScanner(resp.Body)
	if !text.Scan() || text.Text() != e.runner.name {
		return // it was not admitted, or does not echo
	}
	close(heard)
	for text.Scan() {
		e.hear(text.Text())
	}
}

// hangUp ends the bodies of all requests: a target that lets operations end by themselves
// waits for that before it acknowledges.
func (e *echoer) hangUp() {
	for _, s := range e.streams {
		if s.hangUp != nil {
			close(s.hangUp)
			s.hangUp = nil
		}
	}
}

// admitted reports whether a stream was opened, and is open.
func (e *echoer) admitted() bool {
	for _, s := range e.streams {
		select {
		case <-s.heard:
			return true
		default:
		}
	}
	return false
}

// challenge sends a nonce into each stream, made now.
func (e *echoer) challenge() {
	for _, s := range e.streams {
		if s.lines == nil {
			continue
		}
		nonce := rand.Text()
		e.mu.Lock()
		e.sent[nonce] = Now()
		e.mu.Unlock()
		select {
		case s.lines <- nonce:
		default: // it has not even taken the one before
		}
	}
}

func (e *echoer) hear(line string) {
	now := Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if sent, ok := e.sent[line]; ok {
		delete(e.sent, line)
		e.back = append(e.back, echo{sent, now})
	}
}

func (e *echoer) found() []echo {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.back
}

// close ends all streams.
func (e *echoer) close() {
	for _, s := range e.streams {
		if s.cancel != nil {
			s.cancel()
			<-s.ended
		}
		s.client.close()
	}
}
