package leases_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/leases"
)

// remote runs a test with a server of leases and a client of alice, in a bubble of synctest.
func remote(t *testing.T, test func(s *station, n *network, c *client.Client), alter ...func(*leases.Options, *actors.Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, alter...)
		n := newNetwork(s, s.server)
		test(s, n, n.client("alice"))
	})
}

// hold acquires a lease and lets the event stream begin.
func hold(t *testing.T, c *client.Client) *client.Lease {
	t.Helper()
	l, err := c.Acquire(t.Context(), work)
	require.NoError(t, err)
	synctest.Wait()
	return l
}

func TestExecute(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		boom := errors.New("boom")
		ran := 0
		err := c.Execute(t.Context(), work, func(ctx context.Context, l *client.Lease) error {
			ran++
			require.NoError(t, ctx.Err())
			require.NoError(t, l.Check())
			require.Equal(t, "user:alice", l.Principal())
			status, err := c.Lease(ctx, l.ID())
			require.NoError(t, err)
			require.Equal(t, client.LeaseLive, status.State)
			require.Equal(t, l.Revision(), status.Revision)
			return boom
		})
		require.Equal(t, boom, err)
		require.Equal(t, 1, ran)
		require.Zero(t, s.server.Counts().Live)
		require.EqualValues(t, 1, s.server.Counts().Released)

		err = n.client("carol").Execute(t.Context(), work, func(context.Context, *client.Lease) error { ran++; return nil })
		require.ErrorIs(t, err, client.ErrDenied)
		p, ok := errors.AsType[*client.Problem](err)
		require.True(t, ok)
		require.Equal(t, http.StatusForbidden, p.Status)
		require.Equal(t, 1, ran)
	})
}

// TestG2_ARevocationCancelsARemoteOperation waits for the operation that it forbids, and leaves the
// other one alone.
func TestG2_ARevocationCancelsARemoteOperation(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		mine, other := hold(t, c), hold(t, n.client("bob"))
		start := time.Now()
		receipt := s.update(nil, revoke("alice")...)
		require.ErrorIs(t, context.Cause(mine.Context()), client.ErrRevoked)
		require.ErrorIs(t, mine.Context().Err(), context.Canceled)
		require.ErrorIs(t, mine.Check(), client.ErrRevoked)
		require.Zero(t, time.Since(start), "the event stream tells it at once")
		require.Empty(t, receipt)
		mine.Release()
		synctest.Wait()
		require.Equal(t, actors.HowReleased, (<-receipt).Ended[0].How)
		require.NoError(t, other.Check())
		other.Release()
	})
}

// TestG2_AnEventBeforeTheAnswerIsKept revokes a lease after the server acquired it and before its
// answer arrives. No operation begins.
func TestG2_AnEventBeforeTheAnswerIsKept(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		hold(t, c).Release() // begins the stream
		answer := make(chan struct{})
		n.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPut {
				s.server.ServeHTTP(w, r)
				return
			}
			late := httptest.NewRecorder()
			s.server.ServeHTTP(late, r)
			<-answer
			maps.Copy(w.Header(), late.Header())
			w.WriteHeader(late.Code)
			_, _ = w.Write(late.Body.Bytes())
		})
		acquired := make(chan error)
		go func() {
			_, err := c.Acquire(t.Context(), work)
			acquired <- err
		}()
		synctest.Wait()
		receipt := s.update(nil, revoke("alice")...)
		require.Empty(t, receipt)
		close(answer)
		require.Equal(t, client.ErrRevoked, <-acquired)
		require.Equal(t, actors.HowReleased, (<-receipt).Ended[0].How)
	})
}

// TestG2_AGraceIsKept lets a revoked operation go on for its grace, over several TTLs.
func TestG2_AGraceIsKept(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		l := hold(t, c)
		grace := 25 * time.Second
		start := time.Now()
		receipt := s.update(&grace, revoke("alice")...)
		require.NoError(t, l.Check())
		<-l.Context().Done()
		require.ErrorIs(t, context.Cause(l.Context()), client.ErrRevoked)
		require.LessOrEqual(t, time.Since(start), grace)
		require.Greater(t, time.Since(start), grace-2*time.Second)
		require.Empty(t, receipt)
		l.Release()
		<-receipt
	})
}

// TestG2_AShortGraceEndsInTime revokes with a grace that ends before anything else would happen.
func TestG2_AShortGraceEndsInTime(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		l := hold(t, c)
		grace, start := time.Second, time.Now()
		receipt := s.update(&grace, revoke("alice")...)
		<-l.Context().Done()
		require.Equal(t, grace, time.Since(start))
		l.Release()
		<-receipt
	})
}

// TestG2_ALeaseAfterAPauseEndsInTime acquires when the client has not held a lease for a while, and
// loses contact.
func TestG2_ALeaseAfterAPauseEndsInTime(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		hold(t, c).Release()
		for _, pause := range []time.Duration{9, 10, 11} { // around the time at which it looks again
			time.Sleep(pause * time.Second)
			l, start := hold(t, c), time.Now()
			n.sever()
			<-l.Context().Done()
			require.Equal(t, 9*time.Second, time.Since(start))
			n.mend()
			l.Release()
		}
	})
}

// TestARenewalWithoutAnAnswerIsRepeated answers every other renewal never.
func TestARenewalWithoutAnAnswerIsRepeated(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		var renewals atomic.Int32
		over := make(chan struct{})
		n.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == client.LeasesPath+"/renew" && renewals.Add(1)%2 == 1 {
				<-over
			}
			s.server.ServeHTTP(w, r)
		})
		defer close(over)
		l := hold(t, c)
		time.Sleep(time.Minute)
		require.NoError(t, l.Check())
		require.Greater(t, renewals.Load(), int32(8))
		l.Release()
	})
}

// TestReleasesGather releases ten leases while the answer to another release is late.
func TestReleasesGather(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		var deletes, posts atomic.Int32
		late := make(chan struct{})
		n.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodDelete:
				deletes.Add(1)
				<-late
			case r.URL.Path == client.LeasesPath+"/release":
				posts.Add(1)
			}
			s.server.ServeHTTP(w, r)
		})
		var held []*client.Lease
		for range 11 {
			held = append(held, hold(t, c))
		}
		var released sync.WaitGroup
		for _, l := range held {
			released.Go(l.Release)
			synctest.Wait()
		}
		require.Equal(t, 11, s.server.Counts().Live)
		close(late)
		released.Wait()
		require.Zero(t, s.server.Counts().Live)
		require.EqualValues(t, 1, deletes.Load())
		require.EqualValues(t, 1, posts.Load())
	})
}

// TestMoreReleasesThanARequestTakes leaves no lease behind.
func TestMoreReleasesThanARequestTakes(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		late := make(chan struct{})
		var largest atomic.Int32
		n.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodDelete:
				<-late
			case r.URL.Path == client.LeasesPath+"/release":
				text, err := io.ReadAll(r.Body)
				require.NoError(t, err)
				var asked client.Releases
				require.NoError(t, json.Unmarshal(text, &asked))
				largest.Store(max(largest.Load(), int32(len(asked.Leases))))
				r.Body = io.NopCloser(bytes.NewReader(text))
			}
			s.server.ServeHTTP(w, r)
		})
		const all = client.MaxRenewed + 5
		var held []*client.Lease
		for range all {
			held = append(held, hold(t, c))
		}
		var released sync.WaitGroup
		for _, l := range held {
			released.Go(l.Release)
			if l == held[0] {
				synctest.Wait() // it is alone
			}
		}
		synctest.Wait()
		close(late)
		released.Wait()
		require.Zero(t, s.server.Counts().Live)
		require.EqualValues(t, client.MaxRenewed, largest.Load())
	})
}

// TestG2_ACutOffClientStopsFirst measures when a client without contact stops, and when the receipt
// comes.
func TestG2_ACutOffClientStopsFirst(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		l := hold(t, c)
		time.Sleep(time.Minute) // renewed many times
		require.NoError(t, l.Check())
		n.sever()
		start := time.Now()
		receipt := s.update(nil, revoke("alice")...)
		<-l.Context().Done()
		stopped := time.Since(start)
		require.ErrorIs(t, context.Cause(l.Context()), client.ErrLeaseExpired)
		require.Empty(t, receipt)
		require.Equal(t, actors.HowExpired, (<-receipt).Ended[0].How)
		require.Greater(t, time.Since(start), stopped)
		require.LessOrEqual(t, time.Since(start), client.DefaultLeaseTTL)
		n.mend()
		l.Release()
	})
}

func TestAShortCutIsSurvived(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		l := hold(t, c)
		for range 10 {
			n.sever()
			time.Sleep(3 * time.Second)
			n.mend()
			time.Sleep(4 * time.Second)
			require.NoError(t, l.Check())
		}
		l.Release()
		require.Zero(t, s.server.Counts().Live)
	})
}

// TestAReleaseIsTriedAgain releases while the server cannot be reached.
func TestAReleaseIsTriedAgain(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		l := hold(t, c)
		n.sever()
		l.Release() // returns when it has tried for a third of the TTL
		require.Equal(t, 1, s.server.Counts().Live)
		n.mend()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		require.Zero(t, s.server.Counts().Live)
		require.EqualValues(t, 1, s.server.Counts().Released)
	})
}

// TestAnAcquisitionWithoutAnAnswerLeavesNothing loses the answers to PUT.
func TestAnAcquisitionWithoutAnAnswerLeavesNothing(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		var lose atomic.Bool
		n.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.server.ServeHTTP(w, r)
			if lose.Load() && r.Method == http.MethodPut {
				panic(http.ErrAbortHandler)
			}
		})
		lose.Store(true)
		_, err := c.Acquire(t.Context(), work)
		require.Error(t, err)
		require.NotErrorIs(t, err, client.ErrDenied)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Zero(t, s.server.Counts().Live)
		require.EqualValues(t, 1, s.server.Counts().Acquired, "the repeated PUTs named one lease")
		lose.Store(false)
		hold(t, c).Release()
	})
}

// TestClosedClients checks that a closed client holds nothing, and that the server waits for what it
// held.
func TestClosedClients(t *testing.T) {
	remote(t, func(s *station, n *network, c *client.Client) {
		t := s.t
		l := hold(t, c)
		c.Close()
		require.ErrorIs(t, l.Check(), client.ErrClientClosed)
		_, err := c.Acquire(t.Context(), work)
		require.ErrorIs(t, err, client.ErrClientClosed)
		receipt := s.update(nil, revoke("alice")...)
		require.Empty(t, receipt, "the operation may still be running")
		require.Equal(t, actors.HowExpired, (<-receipt).Ended[0].How)
	})
}

// TestARotatedCertificate renews a lease over another certificate, and revokes the first one.
func TestARotatedCertificate(t *testing.T) {
	remote(t, func(s *station, n *network, _ *client.Client) {
		t := s.t
		var number atomic.Value
		number.Store("1")
		c := n.client("alice", func(o *client.Options) {
			o.HTTPClient.Transport.(*asCaller).cert = func() string { return number.Load().(string) }
		})
		l := hold(t, c)
		number.Store("2")
		time.Sleep(6500 * time.Millisecond) // a renewal
		receipt := <-s.update(nil, policy.RevokeCertificate(certificate(t, "alice", "1"), ""))
		require.Zero(t, receipt.EndedCount)
		require.NoError(t, l.Check())
		done := s.update(nil, policy.RevokeCertificate(certificate(t, "alice", "2"), ""))
		require.ErrorIs(t, l.Check(), client.ErrRevoked)
		require.Empty(t, done)
		number.Store("3")
		l.Release()
		<-done
	})
}

// TestAClockThatJumps gives the client a clock that jumps over the deadline, as after a suspension
// of the machine.
func TestAClockThatJumps(t *testing.T) {
	remote(t, func(s *station, n *network, _ *client.Client) {
		t := s.t
		var jump atomic.Int64
		begin := time.Now()
		c := n.client("alice", func(o *client.Options) {
			o.Clock = func() time.Duration { return time.Since(begin) + time.Duration(jump.Load()) }
		})
		l := hold(t, c)
		require.NoError(t, l.Check())
		jump.Store(int64(time.Hour))
		require.ErrorIs(t, l.Check(), client.ErrLeaseExpired)
		require.ErrorIs(t, context.Cause(l.Context()), client.ErrLeaseExpired)
		time.Sleep(7 * time.Second)
		require.Zero(t, s.server.Counts().Renewed, "a client past its deadline does not renew")
		l.Release()
		require.Zero(t, s.server.Counts().Live)
		hold(t, c).Release()
	})
}
