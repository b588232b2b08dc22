package leases_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/leases"
)

func TestMalformedRequests(t *testing.T) {
	const good = `{"action":{"name":"jobs:run"},"resource":{"type":"jobs","id":"7"},"session":"s1"}`
	path := pathOf(1)
	tests := map[string]struct {
		call   call
		status int
		says   string
	}{
		"no caller":               {call{http.MethodPut, path, "", "", good}, 401, ""},
		"a short ID":              {call{http.MethodPut, client.LeasesPath + "/12", "alice", "1", good}, 400, "32 lower-case"},
		"upper case":              {call{http.MethodPut, strings.Replace(path, "00", "AA", 1), "alice", "1", good}, 400, "32 lower-case"},
		"no body":                 {call{http.MethodPut, path, "alice", "1", nil}, 415, ""},
		"no JSON":                 {call{http.MethodPut, path, "alice", "1", "{"}, 400, ""},
		"no session":              {call{http.MethodPut, path, "alice", "1", strings.Replace(good, `"s1"`, `""`, 1)}, 400, "/session"},
		"a strange session":       {call{http.MethodPut, path, "alice", "1", strings.Replace(good, `"s1"`, `"s 1"`, 1)}, 400, "/session"},
		"a long session":          {call{http.MethodPut, path, "alice", "1", strings.Replace(good, `"s1"`, `"`+strings.Repeat("s", 65)+`"`, 1)}, 400, "/session"},
		"a short TTL":             {call{http.MethodPut, path, "alice", "1", strings.Replace(good, `"session"`, `"ttl":0.9,"session"`, 1)}, 400, "/ttl"},
		"a long TTL":              {call{http.MethodPut, path, "alice", "1", strings.Replace(good, `"session"`, `"ttl":60.1,"session"`, 1)}, 400, "/ttl"},
		"a TTL in words":          {call{http.MethodPut, path, "alice", "1", strings.Replace(good, `"session"`, `"ttl":"10s","session"`, 1)}, 400, "/ttl"},
		"another case":            {call{http.MethodPut, path, "alice", "1", strings.Replace(good, `"session"`, `"TTL":10,"session"`, 1)}, 400, "/ttl"},
		"a name twice":            {call{http.MethodPut, path, "alice", "1", strings.Replace(good, `"session"`, `"session":"s2","session"`, 1)}, 400, ""},
		"no action":               {call{http.MethodPut, path, "alice", "1", strings.Replace(good, `"action"`, `"deed"`, 1)}, 400, "/action"},
		"a large body":            {call{http.MethodPut, path, "alice", "1", strings.Replace(good, `"session"`, `"x":"`+strings.Repeat("x", 16<<10)+`","session"`, 1)}, 413, ""},
		"a malformed delete":      {call{http.MethodDelete, client.LeasesPath + "/x", "alice", "1", nil}, 400, "32 lower-case"},
		"a delete of no caller":   {call{http.MethodDelete, path, "", "1", nil}, 401, ""},
		"a renewal of no caller":  {call{http.MethodPost, client.LeasesPath + "/renew", "", "1", `{"session":"s1","leases":[]}`}, 401, ""},
		"a renewal of a bad ID":   {call{http.MethodPost, client.LeasesPath + "/renew", "alice", "1", `{"session":"s1","leases":["1"]}`}, 400, "/leases/0"},
		"an unknown member":       {call{http.MethodPost, client.LeasesPath + "/renew", "alice", "1", `{"session":"s1","lease":[]}`}, 400, "unknown name"},
		"too many renewals":       {call{http.MethodPost, client.LeasesPath + "/renew", "alice", "1", client.Renewal{Session: "s1", Leases: slices.Repeat([]string{idOf(1)}, 1001)}}, 400, "1000"},
		"too many releases":       {call{http.MethodPost, client.LeasesPath + "/release", "alice", "1", client.Releases{Leases: slices.Repeat([]string{idOf(1)}, 1001)}}, 400, "1000"},
		"releases of a bad ID":    {call{http.MethodPost, client.LeasesPath + "/release", "alice", "1", `{"leases":["` + idOf(1) + `","x"]}`}, 400, "/leases/1"},
		"releases of no caller":   {call{http.MethodPost, client.LeasesPath + "/release", "", "1", `{"leases":[]}`}, 401, ""},
		"events of no session":    {call{http.MethodGet, client.LeasesPath + "/events", "alice", "1", nil}, 400, "session"},
		"events of no caller":     {call{http.MethodGet, client.LeasesPath + "/events?session=s1", "", "1", nil}, 401, ""},
		"another method":          {call{http.MethodPatch, path, "alice", "1", nil}, 405, ""},
		"a path below":            {call{http.MethodGet, path + "/x", "alice", "1", nil}, 404, ""},
		"a lease with that name":  {call{http.MethodPut, client.LeasesPath + "/renew", "alice", "1", good}, 400, "32 lower-case"},
		"a subject that is wrong": {call{http.MethodPut, path, "alice", "1", strings.Replace(good, `"session"`, `"subject":{"type":"spiffe","id":"x"},"session"`, 1)}, 400, "/subject"},
	}
	s := newStation(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := s.do(tt.call)
			require.Equal(t, tt.status, w.Code, w.Body.String())
			require.Contains(t, decode[client.Problem](t, w).Detail, tt.says)
		})
	}
	require.Zero(t, s.server.Counts().Live)
	require.Zero(t, s.server.Counts().Sessions)
}

// TestAResourceAsksForALease asks for a lease of another holder, with and without the right.
func TestAResourceAsksForALease(t *testing.T) {
	s := newStation(t)
	s.acquire("alice", 1)
	w := s.do(call{http.MethodGet, pathOf(1), "dora", "1", nil})
	require.Equal(t, http.StatusOK, w.Code)
	status := decode[client.LeaseStatus](t, w)
	require.InDelta(t, 10, status.Remaining, 1)
	status.Remaining = 0
	require.Equal(t, client.LeaseStatus{
		Lease: idOf(1), Holder: "user:alice", Principal: "user:alice", Action: "jobs:run", Resource: "jobs/7", Revision: 1, State: client.LeaseLive,
	}, status)
	none := s.do(call{http.MethodGet, pathOf(2), "bob", "1", nil})
	foreign := s.do(call{http.MethodGet, pathOf(1), "bob", "1", nil})
	require.Equal(t, http.StatusNotFound, foreign.Code)
	require.Equal(t, none.Body.String(), foreign.Body.String(), "the answer tells nothing")
	s.do(call{http.MethodDelete, pathOf(1), "alice", "1", nil})
}

// TestPropertiesAreJudged acquires under a condition, and revokes by a change of it.
func TestPropertiesAreJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		sized := func(n int) *client.LeaseRequest {
			return wants(func(q *client.LeaseRequest) {
				q.Action.Name, q.Resource.Properties = "jobs:try", map[string]any{"size": n}
			})
		}
		require.Equal(t, http.StatusForbidden, s.do(call{http.MethodPut, pathOf(1), "erin", "1", sized(3)}).Code)
		require.Equal(t, http.StatusCreated, s.do(call{http.MethodPut, pathOf(1), "erin", "1", sized(2)}).Code)
		require.Equal(t, http.StatusConflict, s.do(call{http.MethodPut, pathOf(1), "erin", "1", sized(1)}).Code)
		role, err := policy.NewRole("small", nil, nil)
		require.NoError(t, err)
		receipt := s.update(nil, policy.PutRole(role, ""))
		require.Empty(t, receipt)
		require.Equal(t, http.StatusNoContent, s.do(call{http.MethodDelete, pathOf(1), "erin", "1", nil}).Code)
		require.Equal(t, 1, (<-receipt).EndedCount)
	})
}

// TestG1_APutAndADeleteRace sends both at once. In every order nothing is left.
func TestG1_APutAndADeleteRace(t *testing.T) {
	s := newStation(t)
	for i := range 2000 {
		path := fmt.Sprintf("%s/%032x", client.LeasesPath, i)
		var both sync.WaitGroup
		var put, again int
		both.Go(func() { put = s.do(call{http.MethodPut, path, "alice", "1", wants()}).Code })
		both.Go(func() { again = s.do(call{http.MethodPut, path, "alice", "1", wants()}).Code })
		both.Go(func() { s.do(call{http.MethodDelete, path, "alice", "1", nil}) })
		both.Wait()
		require.Equal(t, http.StatusConflict, s.do(call{http.MethodPut, path, "alice", "1", wants()}).Code, "%d %d", put, again)
	}
	c := s.server.Counts()
	require.Zero(t, c.Live)
	require.Zero(t, c.Sessions)
	require.Equal(t, c.Acquired, c.Released, "an ID that was deleted first is no release")
	leases, err := s.engine.Leases(t.Context(), policy.Principal{})
	require.NoError(t, err)
	require.Empty(t, leases)
}

func TestBounds(t *testing.T) {
	s := newStation(t, func(o *leases.Options, _ *actors.Options) { o.PerHolder, o.Max = 2, 3 })
	s.acquire("alice", 1)
	s.acquire("alice", 2)
	w := s.do(call{http.MethodPut, pathOf(3), "alice", "1", wants()})
	require.Equal(t, http.StatusServiceUnavailable, w.Code, "of one holder")
	require.Equal(t, "too-many-leases", problemType(t, w))
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	require.Equal(t, http.StatusNoContent, s.do(call{http.MethodDelete, pathOf(9), "alice", "1", nil}).Code, "an unknown ID can be released")
	s.acquire("bob", 4)
	require.Equal(t, http.StatusServiceUnavailable, s.do(call{http.MethodPut, pathOf(5), "bob", "1", wants()}).Code, "of all")
	s.do(call{http.MethodDelete, pathOf(1), "alice", "1", nil})
	s.acquire("bob", 5)
	for n, who := range map[byte]string{2: "alice", 4: "bob", 5: "bob"} {
		s.do(call{http.MethodDelete, pathOf(n), who, "1", nil})
	}
	require.Zero(t, s.server.Counts().Live)
}

func TestSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, func(o *leases.Options, _ *actors.Options) { o.PerHolder = 5000 })
		for i := range 1001 {
			q := wants(func(q *client.LeaseRequest) { q.Session = fmt.Sprint(i) })
			w := s.do(call{http.MethodPut, fmt.Sprintf("%s/%032x", client.LeasesPath, i), "alice", "1", q})
			if i < 1000 {
				require.Equal(t, http.StatusCreated, w.Code)
			} else {
				require.Equal(t, http.StatusServiceUnavailable, w.Code)
			}
		}
		require.Equal(t, 1000, s.server.Counts().Live)
		require.Equal(t, 1000, s.server.Counts().Sessions)
		time.Sleep(11 * time.Second)
		require.Zero(t, s.server.Counts().Sessions)
	})
}

// TestStreamsWithoutLeasesAreFew opens streams of a caller that may have no lease.
func TestStreamsWithoutLeasesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		ctx, cancel := context.WithCancel(t.Context())
		var streams sync.WaitGroup
		open := func(session string) int {
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, client.LeasesPath+"/events?session="+session, nil)
			r.Header.Set("Caller", "carol")
			w := httptest.NewRecorder()
			streams.Go(func() {
				defer func() {
					if v := recover(); v != nil { // the stream is cut off when its client is gone
						require.Equal(t, http.ErrAbortHandler, v)
					}
				}()
				s.server.ServeHTTP(deadlines{w}, r)
			})
			synctest.Wait()
			return w.Code
		}
		for i := range 16 {
			require.Equal(t, http.StatusOK, open(fmt.Sprint(i)))
		}
		require.Equal(t, 16, s.server.Counts().Streams)
		require.Equal(t, http.StatusServiceUnavailable, open("another"))
		require.Equal(t, http.StatusOK, open("3"), "a stream of a known session replaces the one before")
		cancel()
		streams.Wait()
		require.Zero(t, s.server.Counts().Sessions)
	})
}

// deadlines is a recorder that accepts deadlines, as a connection does.
type deadlines struct{ *httptest.ResponseRecorder }

func (deadlines) SetWriteDeadline(time.Time) error { return nil }

// TestG1_ARightThatIsLostInBetween acquires for bob, whose turn is busy, and revokes the holder's
// right meanwhile.
func TestG1_ARightThatIsLostInBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		busy, running := make(chan struct{}), make(chan struct{})
		bob := actors.Request{Principal: policy.MustPrincipal("user:bob"), Action: "jobs:run", Resource: "jobs/1"}
		go func() {
			_ = s.engine.Execute(context.Background(), bob, func(context.Context) error {
				close(running)
				<-busy
				return nil
			})
		}()
		<-running
		answer := make(chan *httptest.ResponseRecorder)
		go func() {
			answer <- s.do(call{http.MethodPut, pathOf(1), "alice", "1", wants(func(q *client.LeaseRequest) {
				q.Subject = client.Entity{Type: "user", ID: "bob"}
			})})
		}()
		synctest.Wait()
		receipt := s.update(nil, revoke("alice")...)
		require.Empty(t, receipt, "the holder's lease of the engine is out")
		close(busy)
		require.Equal(t, http.StatusForbidden, (<-answer).Code)
		<-receipt
		require.Zero(t, s.server.Counts().Acquired)
	})
}

// TestClose waits for what is out, and serves releases meanwhile.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mark := filepath.Join(t.TempDir(), "leases")
		s := newStation(t, func(o *leases.Options, _ *actors.Options) {
			var settle time.Duration
			var err error
			o.Mark, settle, err = leases.OpenMark(mark)
			require.NoError(t, err)
			require.Zero(t, settle)
		})
		require.NoFileExists(t, mark, "no lease was ever out")
		s.acquire("alice", 1)
		s.acquire("alice", 2)
		require.FileExists(t, mark)
		start := time.Now()
		closed := make(chan int)
		server := s.server
		go func() {
			left, err := server.Close(t.Context())
			require.NoError(t, err)
			closed <- left
		}()
		synctest.Wait()
		require.Equal(t, http.StatusServiceUnavailable, s.do(call{http.MethodPut, pathOf(3), "alice", "1", wants()}).Code)
		renew := client.Renewal{Session: "s1", Leases: []string{idOf(1)}}
		require.Equal(t, http.StatusServiceUnavailable, s.do(call{http.MethodPost, client.LeasesPath + "/renew", "alice", "1", renew}).Code)
		require.Equal(t, http.StatusNoContent, s.do(call{http.MethodDelete, pathOf(1), "alice", "1", nil}).Code)
		require.Zero(t, <-closed)
		require.Equal(t, 10*time.Second, time.Since(start), "the other one expired")
		require.NoFileExists(t, mark, "the stop was clean")
		s.server = nil
	})
}

// TestACloseThatIsNotClean keeps the mark while a lease is live.
func TestACloseThatIsNotClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "leases")
		mark, _, err := leases.OpenMark(path)
		require.NoError(t, err)
		s := newStation(t, func(o *leases.Options, _ *actors.Options) { o.Mark = mark })
		s.acquire("alice", 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		left, err := s.server.Close(ctx)
		require.NoError(t, err)
		require.Equal(t, 1, left)
		_, settle, err := leases.OpenMark(path)
		require.NoError(t, err)
		require.Equal(t, time.Minute, settle)
		time.Sleep(time.Minute)
		s.server = nil
	})
}

// TestTheMarkOutlivesAShortProcess starts and stops a server between the crash of another one and
// the expiry of that one's leases.
func TestTheMarkOutlivesAShortProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "leases")
		require.NoError(t, os.WriteFile(path, []byte("1m0s\n"), 0o600))
		start := func(want time.Duration) {
			mark, settle, err := leases.OpenMark(path)
			require.NoError(t, err)
			require.Equal(t, want, settle)
			s := newStation(t, func(o *leases.Options, _ *actors.Options) { o.Mark = mark })
			s.acquire("alice", 1)
			s.do(call{http.MethodDelete, pathOf(1), "alice", "1", nil})
			left, err := s.server.Close(t.Context())
			require.NoError(t, err)
			require.Zero(t, left)
			s.server = nil
		}
		start(time.Minute)
		require.FileExists(t, path)
		mark, settle, err := leases.OpenMark(path)
		require.NoError(t, err)
		require.Equal(t, time.Minute, settle)
		s := newStation(t, func(o *leases.Options, _ *actors.Options) { o.Mark = mark })
		time.Sleep(time.Minute)
		_, err = s.server.Close(t.Context())
		require.NoError(t, err)
		s.server = nil
		require.NoFileExists(t, path)
		start(0)
		require.NoFileExists(t, path)
	})
}

func TestAMalformedMark(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases")
	for _, text := range []string{"", "soon", "-1s"} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, _, err := leases.OpenMark(path)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, "write the longest TTL")
	}
}

// TestAMarkThatCannotBeWritten denies: a crash would forget the lease.
func TestAMarkThatCannotBeWritten(t *testing.T) {
	mark, _, err := leases.OpenMark(filepath.Join(t.TempDir(), "missing", "leases"))
	require.NoError(t, err)
	s := newStation(t, func(o *leases.Options, _ *actors.Options) { o.Mark = mark })
	w := s.do(call{http.MethodPut, pathOf(1), "alice", "1", wants()})
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "fault", problemType(t, w))
	require.Zero(t, s.server.Counts().Live)
}

func TestTheLongestTTL(t *testing.T) {
	for _, ttl := range []time.Duration{-1, time.Millisecond, time.Minute + 1} {
		_, err := leases.New(leases.Options{MaxTTL: ttl})
		require.ErrorContains(t, err, "longest TTL")
	}
	s := newStation(t, func(o *leases.Options, _ *actors.Options) { o.MaxTTL = 5 * time.Second })
	w := s.do(call{http.MethodPut, pathOf(1), "alice", "1", wants()})
	require.InDelta(t, 5, decode[client.LeaseGrant](t, w).TTL, 0, "the default is at most the longest")
	w = s.do(call{http.MethodPut, pathOf(2), "alice", "1", wants(func(q *client.LeaseRequest) { q.TTL = 6 })})
	require.Equal(t, http.StatusBadRequest, w.Code)
	s.do(call{http.MethodDelete, pathOf(1), "alice", "1", nil})
}

// events opens the event stream of alice's session s1. next returns an event and its data; empty
// ones at the end of the stream.
func (n *network) events(cert string) (next func() (event, data string), end func()) {
	r, err := http.NewRequest(http.MethodGet, "http://leases"+client.LeasesPath+"/events?session=s1", nil)
	require.NoError(n.s.t, err)
	transport := &http.Transport{DialContext: n.dial}
	resp, err := (&asCaller{RoundTripper: transport, name: "alice", cert: func() string { return cert }}).RoundTrip(r)
	require.NoError(n.s.t, err)
	require.Equal(n.s.t, http.StatusOK, resp.StatusCode)
	require.Equal(n.s.t, "text/event-stream", resp.Header.Get("Content-Type"))
	lines := bufio.NewScanner(resp.Body)
	next = func() (event, data string) {
		for lines.Scan() {
			if name, value, ok := strings.Cut(lines.Text(), ": "); ok && name == "event" {
				event = value
			} else if ok && name == "data" {
				return event, value
			}
		}
		return "", ""
	}
	return next, func() {
		_ = resp.Body.Close()
		transport.CloseIdleConnections()
	}
}

func TestEvents(t *testing.T) {
	remote(t, func(s *station, n *network, _ *client.Client) {
		t := s.t
		s.acquire("alice", 1)
		next, end := n.events("1")
		defer end()
		expect := func(event, data string) {
			t.Helper()
			e, d := next()
			require.Equal(t, event, e)
			require.Equal(t, data, d)
		}
		expect("snapshot", `{"leases":[{"lease":"`+idOf(1)+`","state":"live"}]}`)
		s.acquire("alice", 2)
		grace := 3 * time.Second
		receipt := s.update(&grace, revoke("alice")...)
		for range 2 {
			event, data := next()
			require.Equal(t, "revoked", event)
			require.Contains(t, data, `"grace":3`)
		}
		s.do(call{http.MethodDelete, pathOf(1), "alice", "1", nil})
		expect("ended", `{"lease":"`+idOf(2)+`","state":"ended"}`)
		<-receipt
		again, endAgain := n.events("1")
		defer endAgain()
		event, data := next()
		require.Equal(t, "end", event)
		require.Contains(t, data, "replaced")
		event, data = again()
		require.Equal(t, "snapshot", event)
		require.Equal(t, `{"leases":[]}`, data)
		_, _ = s.engine.Update(t.Context(), actors.Update{Changes: []policy.Change{policy.RevokeCertificate(certificate(t, "alice", "1"), "")}})
		event, data = again()
		require.Equal(t, "end", event)
		require.Contains(t, data, "credential-ended")
		synctest.Wait()
		require.Zero(t, s.server.Counts().Streams)
		require.Zero(t, s.server.Counts().Sessions)
	})
}

// TestASnapshotTellsWhatAStreamMissed revokes while no stream is open.
func TestASnapshotTellsWhatAStreamMissed(t *testing.T) {
	remote(t, func(s *station, n *network, _ *client.Client) {
		t := s.t
		s.acquire("alice", 1)
		receipt := s.update(nil, revoke("alice")...)
		next, end := n.events("1")
		defer end()
		_, data := next()
		require.Equal(t, `{"leases":[{"lease":"`+idOf(1)+`","state":"revoked"}]}`, data)
		<-receipt
	})
}

// TestAStreamThatIsNotReadIsClosed leaves a stream unread while leases are revoked.
func TestAStreamThatIsNotReadIsClosed(t *testing.T) {
	remote(t, func(s *station, n *network, _ *client.Client) {
		t := s.t
		_, end := n.events("1") // reads the header only
		defer end()
		synctest.Wait()
		require.Equal(t, 1, s.server.Counts().Streams)
		n.sever() // so that the client's transport reads nothing ahead
		s.acquire("alice", 1)
		receipt := s.update(nil, revoke("alice")...)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.Zero(t, s.server.Counts().Streams)
		require.Equal(t, actors.HowExpired, (<-receipt).Ended[0].How)
		n.mend()
	})
}
