package leases_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/historytest"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/leases"
)

// A history of remote leases has operations of clients as uses. A use begins between the call of
// Acquire and its return, and ends when the client's operation has ended, before it releases. In
// between, requests and answers are lost, doubled, delayed and reordered, streams break, clocks of
// clients jump, and the server crashes and starts again on its store. All of it is in the time of
// testing/synctest.

const (
	historyPrincipals = 2
	historyClients    = 3
	historyTurns      = 6
)

// world is one history: a server that can crash, and its clients.
type world struct {
	t       *testing.T
	dir     string
	rng     *rand.Rand
	randMu  sync.Mutex
	history *historytest.History
	design

	current atomic.Pointer[incarnation]
	network *network
	cutting chan struct{}  // of capacity 1: full while the network is severed
	crashes int            // under cutting
	late    sync.WaitGroup // copies of requests that arrive later

	mu       sync.Mutex
	released map[string]*incarnation // the server at which the release of a path has arrived
	revived  []string                // paths of leases that lived again later
}

// design is what differs from the server of this package. The zero design does not differ.
type design struct {
	wrap        func(w *world, h http.Handler) http.Handler
	ignoresMark bool
}

// incarnation is the server from one start to the next crash.
type incarnation struct {
	engine  *actors.Engine
	store   *journal.Journal
	server  *leases.Server
	handler http.Handler
	crashed context.Context
	crash   context.CancelFunc
}

func (w *world) random(n int) int {
	w.randMu.Lock()
	defer w.randMu.Unlock()
	return w.rng.IntN(n)
}

// start starts the server on the store.
func (w *world) start() {
	quiet := slog.New(slog.DiscardHandler)
	store, err := journal.Open(filepath.Join(w.dir, "store"), journal.Options{Logger: quiet})
	require.NoError(w.t, err)
	mark, settle, err := leases.OpenMark(filepath.Join(w.dir, "leases"))
	require.NoError(w.t, err)
	if w.ignoresMark {
		settle = 0
	}
	engine, err := actors.New(actors.Options{Log: store, QuiesceAfter: settle, Logger: quiet})
	require.NoError(w.t, err)
	server, err := leases.New(leases.Options{Engine: engine, Identifier: named{}, Mark: mark, MaxTTL: 15 * time.Second, Logger: quiet})
	require.NoError(w.t, err)
	i := &incarnation{engine: engine, store: store, server: server, handler: server}
	if w.wrap != nil {
		i.handler = w.wrap(w, server)
	}
	i.crashed, i.crash = context.WithCancel(context.Background())
	w.current.Store(i)
}

// crash ends the server as kill -9 does: nothing of the leases is left but the mark.
func (w *world) crash() {
	i := w.current.Load()
	i.crash()
	mark := filepath.Join(w.dir, "leases")
	text, err := os.ReadFile(mark)
	w.end(i)
	if err == nil {
		require.NoError(w.t, os.WriteFile(mark, text, 0o600))
	}
}

func (w *world) end(i *incarnation) {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := i.server.Close(gone)
	require.NoError(w.t, err)
	_ = i.engine.Close(gone)
	require.NoError(w.t, i.store.Close())
}

// ServeHTTP serves by the current server. A request that is in work at a crash gets no answer.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	i := w.current.Load()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(i.crashed, cancel)()
	i.handler.ServeHTTP(rw, r.WithContext(ctx))
	if i.crashed.Err() != nil {
		panic(http.ErrAbortHandler)
	}
}

// update changes the policy, again and again until a server acknowledges that it is quiesced.
func (w *world) update(changes ...policy.Change) uint64 {
	for {
		i := w.current.Load()
		receipt, err := i.engine.Update(i.crashed, actors.Update{Changes: changes})
		if err == nil {
			return receipt.Revision
		}
		if i.crashed.Err() == nil {
			w.t.Errorf("update: %v", err)
			return 0
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// faulty is a transport that loses, delays, doubles and reorders.
type faulty struct {
	w    *world
	next http.RoundTripper
}

func (f *faulty) RoundTrip(r *http.Request) (*http.Response, error) {
	w := f.w
	if strings.HasSuffix(r.URL.Path, "/events") {
		resp, err := f.next.RoundTrip(r)
		if err == nil && w.random(2) == 0 {
			body := resp.Body
			time.AfterFunc(time.Duration(w.random(8000))*time.Millisecond, func() { _ = body.Close() })
		}
		return resp, err
	}
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		_ = r.Body.Close()
	}
	again := func(ctx context.Context) (*http.Response, error) {
		c := r.Clone(ctx)
		if body != nil {
			c.Body = io.NopCloser(bytes.NewReader(body))
		}
		i := w.current.Load()
		resp, err := f.next.RoundTrip(c)
		if err == nil && resp.StatusCode == http.StatusNoContent && w.current.Load() == i {
			w.noteReleases(r, body, i)
		}
		return resp, err
	}
	lost := errors.New("lost")
	switch w.random(10) {
	case 0: // the request is late
		time.Sleep(time.Duration(w.random(2000)) * time.Millisecond)
	case 1: // the request is lost
		return nil, lost
	case 2: // the answer is lost
		if resp, err := again(r.Context()); err == nil {
			_ = resp.Body.Close()
		}
		return nil, lost
	case 3, 4: // a copy arrives later
		w.late.Go(func() {
			time.Sleep(time.Duration(w.random(12_000)) * time.Millisecond)
			over := w.isReleased(r.URL.Path)
			if resp, err := again(context.WithoutCancel(r.Context())); err == nil {
				_ = resp.Body.Close()
				f.examine(r, over, body)
			}
		})
	}
	return again(r.Context())
}

// noteReleases notes what a DELETE or a request for several leases has released.
func (w *world) noteReleases(r *http.Request, body []byte, at *incarnation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list client.Releases
	if r.Method == http.MethodDelete {
		w.released[r.URL.Path] = at
	} else if json.Unmarshal(body, &list) == nil {
		for _, x := range list.Leases {
			w.released[client.LeasesPath+"/"+x] = at
		}
	}
}

// isReleased reports whether the server that serves has answered the release. Another one, which
// started after a crash, does not know the IDs from before.
func (w *world) isReleased(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.released[path] != nil && w.released[path] == w.current.Load()
}

// examine looks for leases that live again after they were released.
func (f *faulty) examine(r *http.Request, over bool, body []byte) {
	w := f.w
	paths := []string{}
	if over {
		paths = append(paths, r.URL.Path)
	}
	var renewal client.Renewal
	if strings.HasSuffix(r.URL.Path, "/renew") && json.Unmarshal(body, &renewal) == nil {
		for _, x := range renewal.Leases {
			if path := client.LeasesPath + "/" + x; w.isReleased(path) {
				paths = append(paths, path)
			}
		}
	}
	for _, path := range paths {
		ask, err := http.NewRequest(http.MethodGet, "http://leases"+path, nil)
		require.NoError(w.t, err)
		resp, err := f.next.RoundTrip(ask)
		if err != nil {
			continue // the server has crashed
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK && w.isReleased(path) {
			w.mu.Lock()
			w.revived = append(w.revived, path)
			w.mu.Unlock()
		}
	}
}

// use acquires a lease, works under it and releases it.
func (w *world) use(c *client.Client, u historytest.Event, linger int) {
	h := w.history
	call := h.Now()
	l, err := c.Acquire(context.Background(), client.Evaluation{
		Action: client.Action{Name: fmt.Sprintf("do:a%d", u.Action)}, Resource: client.Entity{Type: "thing", ID: "1"},
	})
	if err != nil {
		if errors.Is(err, client.ErrDenied) {
			u.Kind = historytest.Denied
			h.Add(u, call, h.Now())
		}
		return
	}
	u.Kind = historytest.Begin
	h.Add(u, call, h.Now())
	h.Decision(call, l.Revision())
	pause := time.Duration(linger) * 700 * time.Millisecond
	if linger%3 == 2 {
		pause = 30 * time.Second // only a revocation, or the loss of the lease, ends it
	}
	timer := time.NewTimer(pause)
	select {
	case <-timer.C:
	case <-l.Context().Done():
	}
	timer.Stop()
	u.Kind = historytest.End
	h.Instant(u)
	l.Release()
}

// record records a history in the time of a bubble.
func record(t *testing.T, seed uint64, d design) *world {
	w := &world{
		t: t, dir: t.TempDir(), rng: rand.New(rand.NewPCG(seed, 1)), history: &historytest.History{}, design: d,
		released: map[string]*incarnation{},
	}
	synctest.Test(t, func(t *testing.T) {
		w.t, w.cutting = t, make(chan struct{}, 1)
		w.start()
		w.policy()
		w.network = newNetwork(&station{t: t}, w)
		clients := w.clients()
		var faults sync.WaitGroup
		stop := make(chan struct{})
		faults.Go(func() { w.faults(stop, clients) })
		w.history.Run(historytest.Load{
			Seed: seed, Clients: historyClients, Principals: historyPrincipals, Turns: historyTurns,
			Use: func(u historytest.Event, linger int) { w.use(clients[u.Client][u.Principal].Client, u, linger) },
			Change: func(p, a int, allowed bool) uint64 {
				g := policy.Grant{Principal: policy.MustPrincipal(fmt.Sprintf("user:p%d", p)), Role: fmt.Sprintf("a%d", a)}
				if allowed {
					return w.update(policy.GrantRole(g))
				}
				if w.random(3) == 0 {
					defer w.cut(true)()
				}
				return w.update(policy.RevokeRole(g))
			},
		})
		close(stop)
		faults.Wait()
		for _, of := range clients {
			for _, c := range of {
				c.Close()
			}
		}
		synctest.Wait()
		w.late.Wait()
		w.end(w.current.Load())
	})
	return w
}

// policy puts a role for each action.
func (w *world) policy() {
	var changes []policy.Change
	for a := range historytest.Actions {
		actions, err := policy.ParseActionPattern(fmt.Sprintf("do:a%d", a))
		require.NoError(w.t, err)
		things, err := policy.ParseResourcePattern("thing/*")
		require.NoError(w.t, err)
		role, err := policy.NewRole(fmt.Sprintf("a%d", a), nil, []policy.Permission{
			{Effect: policy.Allow, Actions: []policy.ActionPattern{actions}, Resources: []policy.ResourcePattern{things}},
		})
		require.NoError(w.t, err)
		changes = append(changes, policy.PutRole(role, ""))
	}
	w.update(changes...)
}

// jumping is a client whose clock can jump.
type jumping struct {
	*client.Client
	jump *atomic.Int64
}

func (w *world) clients() (all [historyClients][historyPrincipals]jumping) {
	begin := time.Now()
	for c := range all {
		for p := range all[c] {
			jump := &atomic.Int64{}
			all[c][p] = jumping{w.network.client(fmt.Sprintf("p%d", p), func(o *client.Options) {
				o.LeaseTTL = time.Duration(2+w.random(9)) * time.Second
				o.Clock = func() time.Duration { return time.Since(begin) + time.Duration(jump.Load()) }
				o.HTTPClient.Transport = &faulty{w: w, next: o.HTTPClient.Transport}
			}), jump}
		}
	}
	return all
}

// cut severs the network until the returned function is called. If crash is set, the server crashes
// meanwhile and starts again, at most twice in a history. The clients do not learn of it.
func (w *world) cut(crash bool) (mend func()) {
	w.cutting <- struct{}{}
	w.network.sever()
	if crash && w.crashes < 2 {
		w.crashes++
		w.crash()
		w.start()
	}
	return func() {
		w.network.mend()
		<-w.cutting
	}
}

// faults crashes the server, cuts the network and lets clocks jump, now and then.
func (w *world) faults(stop <-chan struct{}, clients [historyClients][historyPrincipals]jumping) {
	for {
		timer := time.NewTimer(time.Duration(500+w.random(6000)) * time.Millisecond)
		select {
		case <-timer.C:
		case <-stop:
			timer.Stop()
			return
		}
		switch n := w.random(8); {
		case n < 3:
			mend := w.cut(n == 0)
			time.Sleep(time.Duration(w.random(12_000)) * time.Millisecond)
			mend()
		case n == 3:
			clients[w.random(historyClients)][w.random(historyPrincipals)].jump.Add(int64(w.random(15_000)) * int64(time.Millisecond))
		}
	}
}

func histories() int {
	if os.Getenv("INTERLOCK_SOAK") != "" {
		return 2000
	}
	return 200
}

// TestG1G2G4_LeaseHistories checks histories of remote operations, as the clients see them.
func TestG1G2G4_LeaseHistories(t *testing.T) {
	var events atomic.Int64
	t.Run("all", func(t *testing.T) {
		for part := range 4 { // a history waits for its disk more than it computes
			t.Run(fmt.Sprint(part), func(t *testing.T) {
				t.Parallel()
				for seed := part; seed < histories(); seed += 4 {
					w := record(t, uint64(seed), design{})
					events.Add(int64(len(w.history.Operations())))
					if !w.history.Check(t) {
						t.Fatalf("history of seed %d is illegal:\n%s", seed, w.history.Dump())
					}
					require.NoError(t, w.history.MonotonicErr(), "seed %d", seed)
					require.Empty(t, w.revived, "seed %d: leases lived again after their release", seed)
				}
			})
		}
	})
	t.Logf("%d histories with %d events", histories(), events.Load())
}

// forgetful is a server that forgets which IDs have ended.
func forgetful(_ *world, h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h.(*leases.Server).ForgetIDs()
		h.ServeHTTP(rw, r)
	})
}

// renewalAcquires is a server that acquires a lease anew when a renewal finds that it has ended.
func renewalAcquires(w *world, h http.Handler) http.Handler {
	var mu sync.Mutex
	bodies := map[string][]byte{} // of PUTs, by path
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		mu.Lock()
		if r.Method == http.MethodPut {
			bodies[r.URL.Path] = body
		}
		known := maps.Clone(bodies)
		mu.Unlock()
		var renewal client.Renewal
		if strings.HasSuffix(r.URL.Path, "/renew") && json.Unmarshal(body, &renewal) == nil {
			h.(*leases.Server).ForgetIDs()
			s := &station{t: w.t, server: h.(*leases.Server)}
			for _, x := range renewal.Leases {
				path := client.LeasesPath + "/" + x
				s.do(call{http.MethodPut, path, r.Header.Get("Caller"), "1", string(known[path])})
			}
		}
		h.ServeHTTP(rw, r)
	})
}

// checksOnly is a server that answers a PUT by a decision and holds no lease of the engine.
func checksOnly(_ *world, h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(rw, r)
		h.(*leases.Server).ReleaseAdmissions()
	})
}

// TestHistoriesCatchOtherServers checks that histories show what is wrong with other designs.
func TestHistoriesCatchOtherServers(t *testing.T) {
	for name, d := range map[string]design{
		"forgets IDs":      {wrap: forgetful},
		"renewal acquires": {wrap: renewalAcquires},
		"checks only":      {wrap: checksOnly},
		"ignores the mark": {ignoresMark: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(200) {
				w := record(t, seed, d)
				if len(w.revived) > 0 || !w.history.Check(t) {
					t.Logf("caught in history %d", seed+1)
					return
				}
			}
			t.Fatal("200 histories of a design that is known to be wrong were all found legal")
		})
	}
}
