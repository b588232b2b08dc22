package leases_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/leases"
)

// TestAnAcquisitionWhoseAnswerIsLostAndThenRefused loses the answer to the first PUT, and revokes
// before the second one. The server must not wait for the expiry of a lease that nobody has.
func TestAnAcquisitionWhoseAnswerIsLostAndThenRefused(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		puts := 0
		var receipt <-chan actors.Receipt
		n.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.server.ServeHTTP(w, r)
			if r.Method != http.MethodPut {
				return
			}
			if puts++; puts == 1 {
				receipt = s.revokeAndWait("alice")
				panic(http.ErrAbortHandler)
			}
		})
		start := time.Now()
		_, err := c.Acquire(t.Context(), work)
		require.ErrorIs(t, err, client.ErrDenied)
		require.Equal(t, 2, puts)
		require.Equal(t, actors.HowReleased, (<-receipt).Ended[0].How)
		require.Less(t, time.Since(start), time.Second)
	})
}

// revokeAndWait revokes the roles of a caller and returns when its leases are revoked.
func (s *station) revokeAndWait(name string) <-chan actors.Receipt {
	before := s.server.Counts().Revoked
	done := make(chan actors.Receipt, 1)
	go func() {
		r, _ := s.engine.Update(context.Background(), actors.Update{Changes: revoke(name)})
		done <- r
	}()
	for s.server.Counts().Revoked == before {
		time.Sleep(time.Millisecond) // of the bubble
	}
	return done
}

// slowPuts delays the answers to PUT.
func slowPuts(s *station, n *network, delay func(attempt int) (answer bool)) {
	var attempt atomic.Int32
	n.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut {
			s.server.ServeHTTP(w, r)
			return
		}
		late := httptest.NewRecorder()
		s.server.ServeHTTP(late, r)
		if !delay(int(attempt.Add(1))) {
			panic(http.ErrAbortHandler)
		}
		maps.Copy(w.Header(), late.Header())
		w.WriteHeader(late.Code)
		_, _ = w.Write(late.Body.Bytes())
	})
}

// TestG2_AnAnswerAfterTheDeadlineGivesNoLease answers the third PUT when the time of the lease,
// which counts from the first one, has passed. No operation may begin.
func TestG2_AnAnswerAfterTheDeadlineGivesNoLease(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		slowPuts(s, n, func(attempt int) bool {
			time.Sleep(3100 * time.Millisecond)
			return attempt == 3
		})
		start := time.Now()
		err := c.Execute(t.Context(), work, func(context.Context, *client.Lease) error {
			t.Error("the operation began")
			return nil
		})
		require.ErrorIs(t, err, client.ErrLeaseExpired)
		require.Less(t, time.Since(start), 10*time.Second)
		synctest.Wait()
		require.Zero(t, s.server.Counts().Live)
	})
}

// TestG1_ARepeatedPutNeedsACertificate repeats a PUT over a certificate that was revoked. The lease
// stands on another one.
func TestG1_ARepeatedPutNeedsACertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.acquire("alice", 1)
		<-s.update(nil, policy.RevokeCertificate(certificate(t, "alice", "2"), ""))
		w := s.do(call{http.MethodPut, pathOf(1), "alice", "2", wants()})
		require.Equal(t, http.StatusUnauthorized, w.Code)
		require.Equal(t, "credential-ended", problemType(t, w))
		require.Equal(t, http.StatusOK, s.do(call{http.MethodPut, pathOf(1), "alice", "3", wants()}).Code)
		s.do(call{http.MethodDelete, pathOf(1), "alice", "1", nil})
	})
}

// TestARotationThatCannotBeDecided renews over another certificate while one principal cannot
// answer. The leases of the others are renewed in time, and that of the principal stays on its
// certificate until it answers.
func TestARotationThatCannotBeDecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		forBob := wants(func(q *client.LeaseRequest) { q.Subject = client.Entity{Type: "user", ID: "bob"} })
		require.Equal(t, http.StatusCreated, s.do(call{http.MethodPut, pathOf(1), "alice", "1", forBob}).Code)
		s.acquire("alice", 2)
		turn := make(chan struct{})
		var blocked atomic.Bool
		go func() {
			request := actors.Request{Principal: policy.MustPrincipal("user:bob"), Action: "jobs:run", Resource: "jobs/7"}
			_ = s.engine.Execute(context.Background(), request, func(context.Context) error {
				blocked.Store(true)
				<-turn
				return nil
			})
		}()
		synctest.Wait()
		require.True(t, blocked.Load())
		start := time.Now()
		renew := call{http.MethodPost, client.LeasesPath + "/renew", "alice", "2", client.Renewal{Session: "s1", Leases: []string{idOf(1), idOf(2)}}}
		w := s.do(renew)
		require.Equal(t, http.StatusOK, w.Code, w.Body.String())
		require.Equal(t, []string{client.LeaseRenewed, client.LeaseRenewed}, decode[client.Renewed](t, w).States)
		require.Less(t, time.Since(start), client.MinLeaseTTL/3, "a client waits that long")
		close(turn)
		synctest.Wait()
		require.Equal(t, http.StatusOK, s.do(renew).Code)
		receipt := <-s.update(nil, policy.RevokeCertificate(certificate(t, "alice", "1"), ""))
		require.Zero(t, receipt.EndedCount, "both have moved")
		for n := range byte(2) {
			s.do(call{http.MethodDelete, pathOf(n + 1), "alice", "2", nil})
		}
	})
}

// TestAStreamBeginsDuringClose opens a stream while the server waits for a lease.
func TestAStreamBeginsDuringClose(t *testing.T) {
	remote(t, func(s *station, n *network, _ *client.Client) {
		t := s.t
		s.acquire("alice", 1)
		server := s.server
		s.server = nil
		closed := make(chan int)
		go func() {
			left, _ := server.Close(t.Context())
			closed <- left
		}()
		synctest.Wait()
		next, end := n.events("1")
		defer end()
		event, _ := next()
		require.Equal(t, "snapshot", event)
		receipt := s.update(nil, revoke("alice")...)
		event, _ = next()
		require.Equal(t, "revoked", event)
		r := httptest.NewRequest(http.MethodDelete, pathOf(1), nil)
		r.Header.Set("Caller", "alice")
		server.ServeHTTP(httptest.NewRecorder(), r)
		<-receipt
		require.Zero(t, <-closed)
		event, data := next()
		require.Equal(t, "end", event)
		require.Contains(t, data, "closed")
	})
}

// TestG2_ARenewalCountsFromItsRequest answers a renewal late, and then cuts the client off. It has to
// stop before the server ends the lease.
func TestG2_ARenewalCountsFromItsRequest(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		n.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				s.server.ServeHTTP(w, r)
				return
			}
			if s.server.Counts().Renewed > 0 {
				panic(http.ErrAbortHandler)
			}
			late := httptest.NewRecorder()
			s.server.ServeHTTP(late, r)
			time.Sleep(3 * time.Second)
			maps.Copy(w.Header(), late.Header())
			w.WriteHeader(late.Code)
			_, _ = w.Write(late.Body.Bytes())
		})
		l := hold(t, c)
		for s.server.Counts().Renewed == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		renewed := time.Now()
		time.Sleep(3100 * time.Millisecond) // the answer arrives
		n.sever()
		receipt := s.update(nil, revoke("alice")...)
		<-l.Context().Done()
		require.Less(t, time.Since(renewed), 9500*time.Millisecond)
		require.Empty(t, receipt)
		require.Equal(t, actors.HowExpired, (<-receipt).Ended[0].How)
		n.mend()
		l.Release()
	})
}

// TestARenewalNeedsACertificate renews over a certificate that was revoked.
func TestARenewalNeedsACertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.acquire("alice", 1)
		<-s.update(nil, policy.RevokeCertificate(certificate(t, "alice", "2"), ""))
		w := s.do(call{http.MethodPost, client.LeasesPath + "/renew", "alice", "2", client.Renewal{Session: "s1", Leases: []string{idOf(1)}}})
		require.Equal(t, http.StatusUnauthorized, w.Code)
		require.Equal(t, "credential-revoked", problemType(t, w))
		s.do(call{http.MethodDelete, pathOf(1), "alice", "1", nil})
	})
}

// TestG2_TheMarkHasTheLongestTTL starts a server with a longer TTL than the one that crashed.
func TestG2_TheMarkHasTheLongestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "leases")
		require.NoError(t, os.WriteFile(path, []byte("2s\n"), 0o600))
		mark, settle, err := leases.OpenMark(path)
		require.NoError(t, err)
		require.Equal(t, 2*time.Second, settle)
		s := newStation(t, func(o *leases.Options, _ *actors.Options) { o.Mark = mark })
		s.acquire("alice", 1)
		_, settle, err = leases.OpenMark(path) // as after another crash
		require.NoError(t, err)
		require.Equal(t, time.Minute, settle)
		s.do(call{http.MethodDelete, pathOf(1), "alice", "1", nil})
	})
}
