package client

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"math"
	"net/http"
	"net/url"
	"runtime"
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

	nextDue time.Duration // no lease is due before that; of the loop that renews

	ctx     context.Context // of the loops
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	leases map[string]*Lease
	early  map[string]LeaseEvent // of leases whose PUT is not answered; zero if there was none
	closed bool
	begun  bool
	target time.Duration // when watch wakes
	nudge  chan struct{} // of capacity 1: wakes watch

	releases  []*release    // that wait
	releasing chan struct{} // of capacity 1: full while a request releases
}

func newHolder(c *Client, o *Options) *holder {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	h := &holder{
		client: c, session: hex.EncodeToString(random[:]), ttl: cmp.Or(o.LeaseTTL, DefaultLeaseTTL), now: o.Clock,
		leases: map[string]*Lease{}, early: map[string]LeaseEvent{}, nudge: make(chan struct{}, 1), releasing: make(chan struct{}, 1), target: math.MaxInt64,
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
	h.mu.Unlock()
	for _, l := range h.held() {
		l.change(h.now(), func(s *leaseState) { s.end(ErrClientClosed) })
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
	h.wakeBy(l.look(h.now()))
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
		h.running.Go(h.watch)
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

// delete releases a lease. While a release is in progress, others gather, and the next request
// releases them together.
func (h *holder) delete(ctx context.Context, id string) error {
	mine := &release{id: id, done: make(chan struct{})}
	h.mu.Lock()
	h.releases = append(h.releases, mine)
	h.mu.Unlock()
	for {
		select {
		case <-mine.done:
			return mine.err
		case <-ctx.Done():
			return ctx.Err()
		case h.releasing <- struct{}{}:
			runtime.Gosched() // a revocation ends several operations at once: their releases join this one
			h.releaseGathered(ctx)
			<-h.releasing
		}
	}
}

// release is a lease that waits for its release. err is the result when done is closed.
type release struct {
	id   string
	done chan struct{}
	err  error
}

// releaseGathered releases what has gathered. The first of it is the oldest.
func (h *holder) releaseGathered(ctx context.Context) {
	h.mu.Lock()
	batch := h.releases[:min(len(h.releases), MaxRenewed)]
	h.releases = h.releases[len(batch):]
	h.mu.Unlock()
	if len(batch) == 0 {
		return // another request has released it
	}
	ctx, cancel := context.WithTimeout(ctx, h.ttl/3)
	defer cancel()
	k := call{method: http.MethodDelete, path: LeasesPath + "/" + batch[0].id}
	if len(batch) > 1 {
		ids := make([]string, len(batch))
		for i, r := range batch {
			ids[i] = r.id
		}
		k = call{method: http.MethodPost, path: LeasesPath + "/release", body: &Releases{Leases: ids}}
	}
	_, err := h.client.long(ctx, k, nil)
	for _, r := range batch {
		r.err = err
		close(r.done)
	}
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

// renew renews each lease when half of its TTL has passed. After a request without an answer there is
// time for another one.
func (h *holder) renew() {
	every := time.NewTicker(h.ttl / 12)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-h.ctx.Done():
			return
		}
		for batch := range slices.Chunk(h.due(), MaxRenewed) {
			h.renewBatch(batch)
		}
	}
}

// held returns the leases.
func (h *holder) held() []*Lease {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.leases))
}

// due returns the leases to renew: none until the last renewal of one is half of the TTL ago,
// and then also those for which it is half of that, so that most are renewed together.
func (h *holder) due() []*Lease {
	now := h.now()
	if now < h.nextDue {
		return nil
	}
	oldest := now
	due := slices.DeleteFunc(h.held(), func(l *Lease) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.state.check(now) != nil {
			return true
		}
		oldest = min(oldest, l.sent)
		return now-l.sent < h.ttl/4
	})
	if now-oldest >= h.ttl/2 {
		return due
	}
	h.nextDue = oldest + h.ttl/2
	return nil
}

// watch cancels the leases that are lost. It wakes when the first one may be. Renewals may have
// moved that moment meanwhile. It is apart from renew, which waits for answers.
func (h *holder) watch() {
	for {
		h.sleepUntil(math.MaxInt64) // a lease that comes during the walk wakes it again
		now := h.now()
		next := now + h.ttl
		for _, l := range h.held() {
			if wake := l.look(now); wake > 0 {
				next = min(next, wake)
			}
		}
		h.sleepUntil(next)
		timer := time.NewTimer(next - now)
		select {
		case <-timer.C:
		case <-h.nudge:
		case <-h.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

func (h *holder) sleepUntil(at time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.target = at
}

// wakeBy makes watch wake at that time, or earlier; 0 for never.
func (h *holder) wakeBy(at time.Duration) {
	h.mu.Lock()
	early := at > 0 && at < h.target
	h.mu.Unlock()
	if early {
		select {
		case h.nudge <- struct{}{}:
		default:
		}
	}
}

// renewBatch renews leases in one request. A failure leaves them as they are: the next tick tries
// again.
func (h *holder) renewBatch(batch []*Lease) {
	ids := make([]string, len(batch))
	for i, l := range batch {
		ids[i] = l.id
	}
	ctx, cancel := context.WithTimeout(h.ctx, h.ttl/6)
	defer cancel()
	sent := h.now()
	var answer Renewed
	_, err := h.client.long(ctx, call{
		method: http.MethodPost, path: LeasesPath + "/renew", body: &Renewal{Session: h.session, Leases: ids},
	}, &answer)
	if err != nil || len(answer.States) != len(batch) {
		return
	}
	now := h.now()
	for i, l := range batch {
		l.renewal(sent, now, answer.States[i], time.Duration(answer.Graces[l.id]*float64(time.Second)))
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
		now := l.holder.now()
		l.holder.wakeBy(l.change(now, func(s *leaseState) { s.revoke(now, grace) }))
	case LeaseEnded:
		l.change(l.holder.now(), func(s *leaseState) { s.end(ErrLeaseEnded) })
	}
}
