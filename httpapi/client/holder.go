package client

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

// ErrClientClosed is returned by Acquire after [Client.Close].
var ErrClientClosed = errors.New("client: closed")

// holder is the session of a client: its leases, the loop that renews them, and its event stream.
type holder struct {
	client  *Client
	session string
	ttl     time.Duration
	now     func() time.Duration // the clock that counts suspended time

	ctx     context.Context // of the loops
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	leases map[string]*Lease
	early  map[string]LeaseEvent // of leases whose PUT is not answered; zero if there was none
	closed bool
	begun  bool
}

func newHolder(c *Client, o *Options) *holder {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	h := &holder{
		client: c, session: hex.EncodeToString(random[:]), ttl: cmp.Or(o.LeaseTTL, DefaultLeaseTTL), now: o.Clock,
		leases: map[string]*Lease{}, early: map[string]LeaseEvent{},
	}
	if h.now == nil {
		h.now = elapsed
	}
	h.ctx, h.stop = context.WithCancel(context.Background())
	return h
}

// Close ends the session. It cancels the leases that this process still holds, and does not
// release them: their operations may still be running, so the server lets them expire. It gives up
// releases that are tried again in the background. A client that never acquired a lease needs no
// Close.
func (c *Client) Close() {
	h := c.leases
	h.mu.Lock()
	h.closed = true
	held := make([]*Lease, 0, len(h.leases))
	for _, l := range h.leases {
		held = append(held, l)
	}
	h.mu.Unlock()
	for _, l := range held {
		l.change(func(s *leaseState, _ time.Duration) { s.end(ErrClientClosed) })
	}
	h.stop()
	h.running.Wait()
	c.http.CloseIdleConnections()
}

// expect keeps the events of a lease that is being acquired. The caller ends it with add or
// unexpect.
func (h *holder) expect(id string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClientClosed
	}
	h.early[id] = LeaseEvent{}
	return nil
}

func (h *holder) unexpect(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.early, id)
}

// add keeps a lease, and begins the session with the first one.
func (h *holder) add(l *Lease) error {
	early, err := h.keep(l)
	if err == nil && early.State != "" {
		l.apply(&early)
	}
	return err
}

func (h *holder) keep(l *Lease) (early LeaseEvent, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	early = h.early[l.id]
	delete(h.early, l.id)
	if h.closed {
		return early, ErrClientClosed
	}
	h.leases[l.id] = l
	if !h.begun {
		h.begun = true
		h.running.Go(h.renew)
		h.running.Go(h.follow)
	}
	return early, nil
}

// forget removes a released lease and tells the server.
func (h *holder) forget(l *Lease, until time.Duration) {
	h.mu.Lock()
	delete(h.leases, l.id)
	h.mu.Unlock()
	if h.delete(context.Background(), l.id) != nil {
		h.abandon(l.id, until)
	}
}

// attempts is how often a PUT is sent at most. A repetition names the same ID, so it is safe.
const attempts = 3

// put acquires. It repeats a request that got no answer. lost reports whether there was such a one.
func (h *holder) put(ctx context.Context, k call, into *LeaseGrant) (lost bool, err error) {
	for i := 1; ; i++ {
		limited, cancel := context.WithTimeout(ctx, h.ttl/3)
		_, err := h.client.long(limited, k, into)
		cancel()
		if _, answered := errors.AsType[*Problem](err); err == nil || answered || ctx.Err() != nil || i == attempts {
			return lost, err
		}
		lost = true
	}
}

// delete releases a lease.
func (h *holder) delete(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, h.ttl/3)
	defer cancel()
	_, err := h.client.long(ctx, call{method: http.MethodDelete, path: LeasesPath + "/" + id}, nil)
	return err
}

// abandon releases a lease in the background, until it has expired.
func (h *holder) abandon(id string, until time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.running.Go(func() {
		for pause := 10 * time.Millisecond; h.now() < until && h.delete(h.ctx, id) != nil; pause *= 2 {
			if !h.sleep(pause) {
				return
			}
		}
	})
}

// sleep returns false if the session ends before the time has passed.
func (h *holder) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-h.ctx.Done():
		return false
	}
}

// renew renews the leases, three times in each TTL.
func (h *holder) renew() {
	every := time.NewTicker(h.ttl / 12)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-h.ctx.Done():
			return
		}
		for batch := range slices.Chunk(h.due(h.ttl/4), MaxRenewed) {
			h.renewBatch(batch)
		}
	}
}

// due returns the leases that were renewed that long ago, if one of them has to be renewed now:
// most leases are then renewed together. It cancels those that are lost.
func (h *holder) due(age time.Duration) []*Lease {
	h.mu.Lock()
	all := make([]*Lease, 0, len(h.leases))
	for _, l := range h.leases {
		all = append(all, l)
	}
	h.mu.Unlock()
	now := h.now()
	due := all[:0]
	for _, l := range all {
		l.mu.Lock()
		held := l.state.check(now) == nil
		old := now-l.sent >= age
		l.mu.Unlock()
		switch {
		case !held:
			l.look()
		case old:
			due = append(due, l)
		}
	}
	return due
}

// renewBatch renews leases in one request. A failure leaves them as they are: the next tick tries
// again.
func (h *holder) renewBatch(batch []*Lease) {
	ids := make([]string, len(batch))
	for i, l := range batch {
		ids[i] = l.id
	}
	ctx, cancel := context.WithTimeout(h.ctx, h.ttl/3)
	defer cancel()
	sent := h.now()
	var answer Renewed
	_, err := h.client.long(ctx, call{
		method: http.MethodPost, path: LeasesPath + "/renew", body: &Renewal{Session: h.session, Leases: ids},
	}, &answer)
	if err != nil || len(answer.States) != len(batch) {
		return
	}
	for i, l := range batch {
		l.renewal(sent, answer.States[i], time.Duration(answer.Graces[l.id]*float64(time.Second)))
	}
}

// follow reads the event stream, and opens it again when it breaks.
func (h *holder) follow() {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, h.ttl/3) {
		begun := time.Now()
		h.readEvents()
		if time.Since(begun) > LeaseHeartbeat {
			pause = 50 * time.Millisecond
		}
		if !h.sleep(pause) {
			return
		}
	}
}

// readEvents reads one event stream to its end. A stream that is silent for three heartbeats is
// dead.
func (h *holder) readEvents() {
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	silence := time.AfterFunc(3*LeaseHeartbeat, cancel)
	defer silence.Stop()
	resp, err := h.client.open(ctx, call{method: http.MethodGet, path: LeasesPath + "/events", query: url.Values{"session": {h.session}}})
	if err != nil {
		return
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for event := ""; ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		silence.Reset(3 * LeaseHeartbeat)
		switch name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ": "); name {
		case "event":
			event = value
		case "data":
			h.handle(event, value)
		}
	}
}

// handle applies an event. It ignores what it does not understand: renewals tell the state too.
func (h *holder) handle(event, data string) {
	switch event {
	case EventSnapshot:
		var snapshot LeaseSnapshot
		if json.Unmarshal([]byte(data), &snapshot) == nil {
			for i := range snapshot.Leases {
				h.apply(&snapshot.Leases[i])
			}
		}
	case EventRevoked, EventEnded:
		var e LeaseEvent
		if json.Unmarshal([]byte(data), &e) == nil {
			h.apply(&e)
		}
	}
}

func (h *holder) apply(e *LeaseEvent) {
	h.mu.Lock()
	l := h.leases[e.Lease]
	if _, expected := h.early[e.Lease]; expected {
		h.early[e.Lease] = *e
	}
	h.mu.Unlock()
	if l != nil {
		l.apply(e)
	}
}

func (l *Lease) apply(e *LeaseEvent) {
	switch e.State {
	case LeaseRevoked:
		grace := time.Duration(e.Grace * float64(time.Second))
		l.change(func(s *leaseState, now time.Duration) { s.revoke(now, grace) })
	case LeaseEnded:
		l.change(func(s *leaseState, _ time.Duration) { s.end(ErrLeaseEnded) })
	}
}
