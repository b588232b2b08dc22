package grpcguard_test

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/grpcguard"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// TestG2_RevocationEndsAStreamAndWaitsForIt revokes one of three streams. The client learns of it
// before the handler returns.
func TestG2_RevocationEndsAStreamAndWaitsForIt(t *testing.T) {
	for _, method := range []string{watch, chat} {
		onBoth(t, func(t *testing.T, s *station, _ transport) {
			feed, ended, leave := make(chan string), make(chan error, 1), make(chan struct{})
			s.service.stream = func(_ string, stream grpc.ServerStream) error {
				ctx := stream.Context()
				for {
					select {
					case line, open := <-feed:
						if !open {
							return nil
						}
						if err := send(stream, line); err != nil {
							return err
						}
					case <-ctx.Done():
						ended <- errors.Join(ctx.Err(), context.Cause(ctx))
						<-leave
						return nil // a clean end does not count
					}
				}
			}
			conn := s.as("alice")
			revoked := s.open(conn, method, "1")
			feed <- "first"
			requireReceived(t, revoked, "first")
			same := s.open(conn, method, "2")
			bob := s.open(s.as("bob"), method, "1")
			require.Eventually(t, func() bool { return len(s.leases()) == 3 }, patience, time.Millisecond)

			update := s.revoke("alice", "watcher-of-1")
			how := await(t, ended)
			require.ErrorIs(t, how, actors.ErrRevoked)
			_, err := receive(revoked)
			info := requireRevoked(t, err)
			require.Equal(t, strconv.FormatUint(s.underWay, 10), info.GetMetadata()[grpcguard.MetadataRevision])
			s.requireRunning(1)
			close(leave)
			receipt := requireQuiesced(t, update)
			require.Len(t, receipt.Ended, 1)
			require.Equal(t, actors.HowCanceled, receipt.Ended[0].How)

			require.Len(t, s.leases(), 2)
			feed <- "more"
			feed <- "more"
			close(feed)
			for _, stays := range []grpc.ClientStream{same, bob} {
				for err = nil; err == nil; {
					_, err = receive(stays)
				}
				require.ErrorIs(t, err, io.EOF, "it ends whole")
			}
			_, err = receive(s.open(conn, method, "1"))
			requireCode(t, err, codes.PermissionDenied, "DENIED")
		})
	}
}

func TestG2_RevocationEndsAUnaryCall(t *testing.T) {
	onBoth(t, func(t *testing.T, s *station, _ transport) {
		began, leave := make(chan struct{}), make(chan struct{})
		s.service.unary = func(ctx context.Context, _ string) (string, error) {
			close(began)
			<-ctx.Done()
			<-leave
			return "a secret", nil
		}
		answered := make(chan error, 1)
		alice := s.as("alice")
		go func() {
			_, err := call(alice, get, "1")
			answered <- err
		}()
		await(t, began)
		update := s.revoke("alice", "reader")
		s.requireRunning(1)
		close(leave)
		requireQuiesced(t, update)
		requireRevoked(t, await(t, answered))
	})
}

// TestG2_RevocationEndsABlockedRecvMsg has a client that is silent.
func TestG2_RevocationEndsABlockedRecvMsg(t *testing.T) {
	for _, method := range []string{upload, chat} {
		onBoth(t, func(t *testing.T, s *station, _ transport) {
			received, ended := make(chan string, 1), make(chan error, 1)
			s.service.stream = func(_ string, stream grpc.ServerStream) error {
				for {
					in, err := receive(stream)
					if err != nil {
						ended <- err
						return errors.New("of the handler")
					}
					received <- in
				}
			}
			client := s.open(s.as("alice"), method, "1")
			require.NoError(t, send(client, "one"))
			await(t, received)
			requireQuiesced(t, s.revoke("alice", "watcher-of-1"))
			requireRevoked(t, await(t, ended))
			_, err := receive(client)
			requireRevoked(t, err)
		})
	}
}

// TestG2_RevocationEndsABlockedSendMsg has a client that does not read.
func TestG2_RevocationEndsABlockedSendMsg(t *testing.T) {
	for _, method := range []string{watch, chat} {
		onBoth(t, func(t *testing.T, s *station, way transport) {
			var sent atomic.Int64
			ended := make(chan error, 1)
			s.service.stream = func(_ string, stream grpc.ServerStream) error {
				for {
					if err := send(stream, strings.Repeat("x", 16<<10)); err != nil {
						ended <- err
						return err
					}
					sent.Add(1)
				}
			}
			client := s.open(s.as("alice"), method, "1")
			last := int64(-1)
			require.Eventually(t, func() bool {
				before := last
				last = sent.Load()
				return last > 0 && last == before
			}, patience, 200*time.Millisecond, "the flow control stops it")
			began := time.Now()
			requireQuiesced(t, s.revoke("alice", "watcher-of-1"))
			require.Less(t, time.Since(began), 5*time.Second)
			requireRevoked(t, await(t, ended))
			var err error
			for err == nil {
				_, err = receive(client)
			}
			if way.name == "native" {
				requireRevoked(t, err)
				return
			}
			require.NotErrorIs(t, err, io.EOF, "the stream was reset")
		})
	}
}

// counted counts the calls that reach grpc.
type counted struct {
	grpc.ServerStream
	calls *atomic.Int32
}

func (c *counted) RecvMsg(m any) error {
	c.calls.Add(1)
	return c.ServerStream.RecvMsg(m)
}

func (c *counted) SendMsg(m any) error {
	c.calls.Add(1)
	return c.ServerStream.SendMsg(m)
}

func (c *counted) SendHeader(header metadata.MD) error {
	c.calls.Add(1)
	return c.ServerStream.SendHeader(header)
}

// TestG2_NoCallBeginsAfterTheRevocation has a handler that ignores its context.
func TestG2_NoCallBeginsAfterTheRevocation(t *testing.T) {
	for _, way := range transports {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			s := newStation(t, rules())
			var calls atomic.Int32
			s.start(way, func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
				return next(srv, &counted{stream, &calls})
			})
			next, results := make(chan struct{}), make(chan error, 3)
			s.service.stream = func(_ string, stream grpc.ServerStream) error {
				<-next
				_, err := receive(stream)
				results <- err
				results <- send(stream, "late")
				results <- stream.SendHeader(nil)
				return nil
			}
			client := s.open(s.as("alice"), chat, "1")
			require.NoError(t, send(client, "in the buffer"))
			require.Eventually(t, func() bool { return len(s.leases()) == 1 }, patience, time.Millisecond)
			update := s.revoke("alice", "watcher-of-1")
			s.requireRunning(1)
			close(next)
			for range 3 {
				requireRevoked(t, await(t, results))
			}
			require.Zero(t, calls.Load())
			requireQuiesced(t, update)
			_, err := receive(client)
			requireRevoked(t, err)
		})
	}
}

// TestG2_RevocationIsTheResultOfAFasterHandler is about handlers that return before the guard has
// written the status.
func TestG2_RevocationIsTheResultOfAFasterHandler(t *testing.T) {
	onBoth(t, func(t *testing.T, s *station, _ transport) {
		s.service.stream = func(_ string, stream grpc.ServerStream) error {
			_ = send(stream, "began")
			for stream.Context().Err() == nil {
				_ = send(stream, "more")
			}
			return nil
		}
		bob := s.as("bob")
		for range 20 {
			requireQuiesced(t, s.update(policy.GrantRole(policy.Grant{Principal: who("bob"), Role: "watcher-of-1"})))
			client := s.open(bob, watch, "1")
			requireReceived(t, client, "began")
			update := s.revoke("bob", "watcher-of-1")
			var err error
			for err == nil {
				_, err = receive(client)
			}
			requireRevoked(t, err)
			requireQuiesced(t, update)
		}
	})
}

// TestG2_TheFirstMessageMeetsTheRevocation revokes while the handler sends its first message.
func TestG2_TheFirstMessageMeetsTheRevocation(t *testing.T) {
	onBoth(t, func(t *testing.T, s *station, _ transport) {
		began := make(chan struct{})
		s.service.stream = func(_ string, stream grpc.ServerStream) error {
			began <- struct{}{}
			return send(stream, "first")
		}
		bob := s.as("bob")
		for range 50 {
			requireQuiesced(t, s.update(policy.GrantRole(policy.Grant{Principal: who("bob"), Role: "watcher-of-1"})))
			client := s.open(bob, watch, "1")
			update := s.revoke("bob", "watcher-of-1")
			select {
			case <-began:
				await(t, update)
			case <-update: // it was denied
			}
			var err error
			for err == nil {
				_, err = receive(client)
			}
			if !errors.Is(err, io.EOF) {
				requireDeniedOrRevoked(t, err)
			}
			s.requireNoLeases()
		}
	})
}

func requireDeniedOrRevoked(t testing.TB, err error) {
	t.Helper()
	if strings.Contains(err.Error(), "revoked") {
		requireRevoked(t, err)
		return
	}
	requireCode(t, err, codes.PermissionDenied, "DENIED")
}

// held is a stream whose RecvMsg does not return before the test lets it.
type held struct {
	grpc.ServerStream
	entered, let chan struct{}
}

func (h *held) RecvMsg(m any) error {
	close(h.entered)
	err := h.ServerStream.RecvMsg(m)
	<-h.let
	return err
}

// TestG2_TheReceiptWaitsForARecvMsgThatTheHandlerLeftBehind has a handler that receives on another
// goroutine, as many do, and returns without waiting for it.
func TestG2_TheReceiptWaitsForARecvMsgThatTheHandlerLeftBehind(t *testing.T) {
	for _, way := range transports {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			s := newStation(t, rules())
			entered, let, returned := make(chan struct{}), make(chan struct{}), make(chan struct{})
			s.start(way, func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
				defer close(returned)
				return next(srv, &held{stream, entered, let})
			})
			result := make(chan error, 1)
			s.service.stream = func(_ string, stream grpc.ServerStream) error {
				go func() {
					_, err := receive(stream)
					result <- err
				}()
				<-entered
				return send(stream, "done")
			}
			client := s.open(s.as("alice"), chat, "1")
			require.NoError(t, send(client, "a message"))
			await(t, returned)
			for err := error(nil); err == nil; {
				_, err = receive(client)
			}
			update := s.revoke("alice", "watcher-of-1")
			s.requireRunning(1)
			close(let)
			requireQuiesced(t, update)
			require.Error(t, await(t, result), "what it received does not reach the handler")
		})
	}
}

// TestAHandlerMayLeaveARecvMsgBehind has a silent client, so that only the end of the call ends
// RecvMsg.
func TestAHandlerMayLeaveARecvMsgBehind(t *testing.T) {
	onBoth(t, func(t *testing.T, s *station, _ transport) {
		result := make(chan error, 1)
		s.service.stream = func(_ string, stream grpc.ServerStream) error {
			entered := make(chan struct{})
			go func() {
				close(entered)
				_, err := receive(stream)
				result <- err
			}()
			<-entered
			return nil
		}
		client := s.open(s.as("alice"), chat, "1")
		_, err := receive(client)
		require.ErrorIs(t, err, io.EOF)
		require.Error(t, await(t, result))
		s.requireNoLeases()
	})
}

func TestG1_ExecuteIsSerializedWithTheRevocation(t *testing.T) {
	onBoth(t, func(t *testing.T, s *station, _ transport) {
		began, leave := make(chan struct{}), make(chan struct{})
		s.service.unary = func(ctx context.Context, _ string) (string, error) {
			close(began)
			<-leave
			return "done", ctx.Err()
		}
		answered := make(chan error, 1)
		alice := s.as("alice")
		go func() {
			_, err := call(alice, amend, "1")
			answered <- err
		}()
		await(t, began)
		update := s.revoke("alice", "writer")
		over, cancel := context.WithCancel(context.Background())
		cancel()
		require.Eventually(t, func() bool {
			receipt, err := s.Engine.Receipt(over, s.underWay)
			return errors.Is(err, actors.ErrNotQuiesced) && len(receipt.Waiting) == 1
		}, patience, time.Millisecond, "the update waits for the turn")
		close(leave)
		requireQuiesced(t, update)
		require.NoError(t, await(t, answered), "it ran completely before the update")
		_, err := call(alice, amend, "1")
		requireCode(t, err, codes.PermissionDenied, "DENIED")
	})
}

func TestG2_RevokedCertificate(t *testing.T) {
	onBoth(t, func(t *testing.T, s *station, _ transport) {
		began := make(chan struct{}, 2)
		s.service.stream = func(_ string, stream grpc.ServerStream) error {
			began <- struct{}{}
			_, err := receive(stream)
			return err
		}
		s.service.unary = func(context.Context, string) (string, error) { return "", nil }
		stolen := s.Issue("spiffe://interlock.test/alice")
		conn, other := s.dial(stolen), s.as("alice")
		revoked, stays := s.open(conn, chat, "1"), s.open(other, chat, "1")
		await(t, began)
		await(t, began)
		id, err := policy.ByFingerprint(servertest.FingerprintOf(stolen))
		require.NoError(t, err)
		require.Len(t, requireQuiesced(t, s.update(policy.RevokeCertificate(id, "stolen"))).Ended, 1)
		_, err = receive(revoked)
		requireRevoked(t, err)
		require.NoError(t, stays.CloseSend())
		_, err = receive(stays)
		requireCode(t, err, codes.Unknown, "") // the handler's own io.EOF
		_, err = call(conn, get, "1")
		requireCode(t, err, codes.Unauthenticated, "CREDENTIAL_REVOKED")
		_, err = call(s.dial(stolen), get, "1")
		requireCode(t, err, codes.Unauthenticated, "CREDENTIAL_REVOKED")
		_, err = call(other, get, "1")
		require.NoError(t, err)
	})
}

// TestG2_AStreamHasTheGraceOfItsRule sends in the grace.
func TestG2_AStreamHasTheGraceOfItsRule(t *testing.T) {
	t.Parallel()
	for _, way := range transports {
		graceful := rules()
		graceful[watch] = grpcguard.Rule{Action: "orders:watch", Resource: "orders/1", Grace: new(2 * time.Second), Mode: httpapi.Admit}
		s := newStation(t, graceful)
		s.start(way)
		feed := make(chan string)
		s.service.stream = func(_ string, stream grpc.ServerStream) error {
			for {
				select {
				case line := <-feed:
					if err := send(stream, line); err != nil {
						return err
					}
				case <-stream.Context().Done():
					return nil
				}
			}
		}
		client := s.open(s.as("alice"), watch, "1")
		feed <- "first"
		requireReceived(t, client, "first")
		update := s.revoke("alice", "watcher-of-1")
		s.requireRunning(1)
		feed <- "in the grace"
		requireReceived(t, client, "in the grace")
		_, err := receive(client)
		requireRevoked(t, err)
		requireQuiesced(t, update)
	}
}
