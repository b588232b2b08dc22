package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// streamError is how net/http shows the reset of a stream of HTTP/2.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string { return "stream error" }

// requireBroken finds that a body did not end as whole ones do.
func requireBroken(t testing.TB, speaks servertest.Wire, err error) {
	t.Helper()
	if speaks == servertest.HTTP1 {
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		return
	}
	var reset streamError
	require.ErrorAs(t, err, &reset)
}

func isUnsupported(err error) bool { return errors.Is(err, http.ErrNotSupported) }

// stream is a guarded handler that sends what it is fed until its context ends.
type stream struct {
	feed  chan string
	ended chan error    // how its context ended
	leave chan struct{} // closed to let it return then
}

func newStream() *stream {
	return &stream{feed: make(chan string), ended: make(chan error, 1), leave: make(chan struct{})}
}

func (h *stream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for {
		select {
		case line, open := <-h.feed:
			if !open {
				return
			}
			_, _ = io.WriteString(w, line+"\n")
			_ = http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			h.ended <- errors.Join(r.Context().Err(), context.Cause(r.Context()))
			<-h.leave
			return
		}
	}
}

// watcher is a client of such a stream.
type watcher struct {
	t    testing.TB
	from *stream
	body io.ReadCloser
	text *bufio.Reader
}

// watch opens the stream and reads its first line.
func (s *guardStation) watch(c *http.Client, path string, from *stream) *watcher {
	s.T.Helper()
	return s.watchRequest(c, s.Request(http.MethodGet, path, ""), from)
}

func (s *guardStation) watchRequest(c *http.Client, r *http.Request, from *stream) *watcher {
	s.T.Helper()
	answered := make(chan *http.Response, 1)
	go func() {
		got, err := c.Do(r) //nolint:bodyclose // the watcher closes it
		if err != nil {
			s.T.Error(err)
		}
		answered <- got
	}()
	from.feed <- "first"
	got := await(s.T, answered)
	w := &watcher{t: s.T, from: from, body: got.Body, text: bufio.NewReader(got.Body)}
	s.T.Cleanup(func() { _ = got.Body.Close() })
	w.requireLine("first")
	return w
}

func (w *watcher) requireLine(want string) {
	w.t.Helper()
	line, err := w.text.ReadString('\n')
	require.NoError(w.t, err)
	require.Equal(w.t, want+"\n", line)
}

// requireUndisturbed sends another line through, and ends the stream as it should.
func (w *watcher) requireUndisturbed() {
	w.t.Helper()
	w.from.feed <- "more"
	w.requireLine("more")
	close(w.from.feed)
	_, err := w.text.ReadByte()
	require.ErrorIs(w.t, err, io.EOF)
}

// streams protects a stream for each of the names at /name/{id}.
func (s *guardStation) streams(names ...string) map[string]*stream {
	all := map[string]*stream{}
	for _, name := range names {
		all[name] = newStream()
		s.protect(name, httpapi.Rule{Action: "orders:watch"}, all[name].ServeHTTP)
	}
	return all
}

func TestG2_RevocationEndsAStreamAndWaitsForIt(t *testing.T) {
	for _, speaks := range servertest.Wires {
		s := newGuardStation(t)
		all := s.streams("revoked", "same-connection", "bob")
		c := s.Client(speaks, s.Issue("spiffe://interlock.test/alice"))
		revoked := s.watch(c, "/revoked/1", all["revoked"])
		same := s.watch(c, "/same-connection/2", all["same-connection"])
		bob := s.watch(s.Client(speaks, s.Issue("spiffe://interlock.test/bob")), "/bob/1", all["bob"])

		update := s.revoke("alice", "watcher-of-1")
		how := await(t, revoked.from.ended)
		require.ErrorIs(t, how, actors.ErrRevoked)
		require.ErrorIs(t, how, context.Canceled)
		s.requireRunning(1)
		close(revoked.from.leave)
		receipt := requireQuiesced(t, update)
		require.Len(t, receipt.Ended, 1)
		require.Equal(t, actors.HowCanceled, receipt.Ended[0].How)
		_, err := io.ReadAll(revoked.text)
		requireBroken(t, speaks, err)
		same.requireUndisturbed()
		bob.requireUndisturbed()
		require.Equal(t, 403, s.Send(c, s.Request(http.MethodGet, "/revoked/1", "")).StatusCode, "none starts anew")
	}
}

// TestG2_RevocationAbortsTheResponseOfAReturningHandler is about handlers that are faster than the
// guard's own reaction to the revocation.
func TestG2_RevocationAbortsTheResponseOfAReturningHandler(t *testing.T) {
	for _, speaks := range servertest.Wires {
		s := newGuardStation(t)
		began := make(chan struct{})
		s.protect("quick", httpapi.Rule{Action: "orders:watch"}, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "half of it")
			_ = http.NewResponseController(w).Flush()
			began <- struct{}{}
			for r.Context().Err() == nil {
				runtime.Gosched()
			}
		})
		c := s.Client(speaks, s.Issue("spiffe://interlock.test/bob"))
		for range 30 {
			requireQuiesced(t, s.update(policy.GrantRole(policy.Grant{Principal: who("bob"), Role: "watcher-of-1"})))
			failed := make(chan error, 1)
			go func() {
				_, err := s.Try(c, s.Request(http.MethodGet, "/quick/1", ""))
				failed <- err
			}()
			await(t, began)
			requireQuiesced(t, s.revoke("bob", "watcher-of-1"))
			requireBroken(t, speaks, await(t, failed))
		}
	}
}

func TestG2_RevocationBeforeTheFirstByteIsNoCleanEndEither(t *testing.T) {
	for _, speaks := range servertest.Wires {
		s := newGuardStation(t)
		began := make(chan struct{})
		s.protect("silent", httpapi.Rule{Action: "orders:watch"}, func(w http.ResponseWriter, r *http.Request) {
			close(began)
			<-r.Context().Done()
			w.WriteHeader(http.StatusOK)
			if _, err := io.WriteString(w, "too late"); err == nil {
				t.Log("written before the revocation was seen")
			}
		})
		failed := make(chan error, 1)
		go func() {
			_, err := s.Try(s.Client(speaks, s.Issue("spiffe://interlock.test/bob")), s.Request(http.MethodGet, "/silent/1", ""))
			failed <- err
		}()
		await(t, began)
		requireQuiesced(t, s.revoke("bob", "watcher-of-1"))
		require.Error(t, await(t, failed))
	}
}

func TestG2_GuardReleasesWhenTheHandlerPanics(t *testing.T) {
	s := newGuardStation(t)
	s.protect("admit", httpapi.Rule{Action: "orders:watch"}, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			_, _ = io.WriteString(w, "half of it")
			_ = http.NewResponseController(w).Flush()
		}
		panic("a secret")
	})
	for _, speaks := range servertest.Wires {
		c := s.Client(speaks, s.Issue("spiffe://interlock.test/bob"))
		require.Equal(t, 500, s.Send(c, s.Request(http.MethodGet, "/admit/1", "")).StatusCode)
		_, err := s.Try(c, s.Request(http.MethodPut, "/admit/1", ""))
		require.Error(t, err)
		s.requireNoLeases()
	}
	requireQuiesced(t, s.revoke("bob", "watcher-of-1"))
}

func TestGuardEndsWhatItsClientHasLeft(t *testing.T) {
	for _, speaks := range servertest.Wires {
		s := newGuardStation(t)
		left := s.streams("left")["left"]
		close(left.leave)
		w := s.watch(s.Client(speaks, s.Issue("spiffe://interlock.test/bob")), "/left/1", left)
		require.Len(t, s.leases(), 1)
		require.NoError(t, w.body.Close())
		how := await(t, left.ended)
		require.ErrorIs(t, how, context.Canceled)
		require.NotErrorIs(t, how, actors.ErrRevoked)
		s.requireNoLeases()
	}
}

// TestG2_RevocationAfterTheClientHasLeft has a handler that goes on without its client: it
// is still an operation, which the update waits for and which learns of the revocation.
func TestG2_RevocationAfterTheClientHasLeft(t *testing.T) {
	s := newGuardStation(t)
	left := s.streams("left")["left"]
	w := s.watch(s.As("bob"), "/left/1", left)
	require.NoError(t, w.body.Close())
	await(t, left.ended)
	update := s.revoke("bob", "watcher-of-1")
	s.requireRunning(1)
	close(left.leave)
	require.Len(t, requireQuiesced(t, update).Ended, 1)
}

func TestG2_CloseEndsStreamsAsARevocationDoes(t *testing.T) {
	t.Parallel()
	for _, speaks := range servertest.Wires {
		s := newGuardStation(t)
		stays := s.streams("stays")["stays"]
		w := s.watch(s.Client(speaks, s.Issue("spiffe://interlock.test/bob")), "/stays/1", stays)
		soon, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		require.ErrorIs(t, s.Engine.Close(soon), actors.ErrNotQuiesced)
		cancel()
		require.ErrorIs(t, await(t, stays.ended), actors.ErrClosed)
		close(stays.leave)
		_, err := io.ReadAll(w.text)
		requireBroken(t, speaks, err)
	}
}

// TestG2_AStreamHasTheGraceOfItsRule revokes a role from two streams. The one that has a grace
// continues until its grace is over, and its client reads all that was written before.
func TestG2_AStreamHasTheGraceOfItsRule(t *testing.T) {
	s := newGuardStation(t)
	graceful, strict := newStream(), newStream()
	s.protect("graceful", httpapi.Rule{Action: "orders:watch", Grace: new(2 * time.Second)}, graceful.ServeHTTP)
	s.protect("strict", httpapi.Rule{Action: "orders:watch"}, strict.ServeHTTP)
	c := s.As("bob")
	first, second := s.watch(c, "/graceful/1", graceful), s.watch(c, "/strict/1", strict)
	began := time.Now()
	update := s.revoke("bob", "watcher-of-1")
	require.ErrorIs(t, await(t, second.from.ended), actors.ErrRevoked)
	close(second.from.leave)
	first.from.feed <- "in the grace"
	first.requireLine("in the grace")
	require.ErrorIs(t, await(t, first.from.ended), actors.ErrRevoked)
	require.GreaterOrEqual(t, time.Since(began), 200*time.Millisecond)
	close(first.from.leave)
	require.Len(t, requireQuiesced(t, update).Ended, 2)
}
