package gateway_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/httpapi/gateway"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// feeds lets a test say what the upstream does for each path.
type feeds struct {
	lines map[string]chan string // a closed one ends the response
	ended map[string]chan error  // why the request ended, nil for a whole one
}

func newFeeds() *feeds {
	f := &feeds{lines: map[string]chan string{}, ended: map[string]chan error{}}
	for _, path := range []string{"/files/1", "/files/2"} {
		f.lines[path], f.ended[path] = make(chan string), make(chan error, 1)
	}
	return f
}

// download sends the lines of the path.
func (f *feeds) download(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case line, more := <-f.lines[r.URL.Path]:
			if !more {
				f.ended[r.URL.Path] <- nil
				return
			}
			_, _ = io.WriteString(w, line+"\n")
			_ = http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			f.ended[r.URL.Path] <- r.Context().Err()
			return
		}
	}
}

// upload reads the body of the request.
func (f *feeds) upload(w http.ResponseWriter, r *http.Request) {
	f.lines[r.URL.Path] <- "began"
	n, err := io.Copy(io.Discard, r.Body)
	f.ended[r.URL.Path] <- err
	if err == nil && n > 0 {
		w.WriteHeader(http.StatusOK)
	}
}

// requireUpstreamEnded requires that the upstream's handler has ended. With HTTP/1.1 the receipt
// has waited for it.
func (f *feeds) requireUpstreamEnded(t *testing.T, k kind, path string) {
	t.Helper()
	if k.protocol == gateway.HTTP1 {
		require.Len(t, f.ended[path], 1, "the receipt came before the upstream's handler ended")
	}
	require.Error(t, await(t, f.ended[path]))
}

// requireEnded requires that the update ended one operation, on the resource.
func requireEnded(t *testing.T, r actors.Receipt, resource string) {
	t.Helper()
	require.Len(t, r.Ended, 1)
	require.Equal(t, resource, r.Ended[0].Resource)
	require.Equal(t, actors.HowCanceled, r.Ended[0].How)
}

func TestG2_ARevocationCutsTheDownload(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind, wire servertest.Wire) {
		f := newFeeds()
		s := newStation(t, k, f.download)
		c := s.Client(wire, s.Issue("spiffe://interlock.test/alice"))
		forbidden, allowed := s.open(c, s.Request(http.MethodGet, "/files/1", "")), s.open(c, s.Request(http.MethodGet, "/files/2", ""))
		for path, w := range map[string]*stream{"/files/1": forbidden, "/files/2": allowed} {
			f.lines[path] <- "first"
			w.requireLine("first")
		}
		requireEnded(t, s.revoke("alice", "first"), "files/1")
		f.requireUpstreamEnded(t, k, "/files/1")
		forbidden.requireCut()
		s.Send(c, s.Request(http.MethodGet, "/files/1", "")).RequireProblem(t, 403, "denied")
		f.lines["/files/2"] <- "second"
		allowed.requireLine("second")
		close(f.lines["/files/2"])
		allowed.requireWhole()
		require.NoError(t, await(t, f.ended["/files/2"]))
		s.requireCounts(gateway.Counts{OK: 1, Refused: 1, Aborted: 1})
	})
}

func TestG2_ARevocationCutsTheUpload(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind, wire servertest.Wire) {
		f := newFeeds()
		s := newStation(t, k, f.upload)
		c := s.Client(wire, s.Issue("spiffe://interlock.test/alice"))
		type result struct {
			reply servertest.Reply
			err   error
		}
		results, bodies := map[string]chan result{}, map[string]*io.PipeWriter{}
		for _, path := range []string{"/files/1", "/files/2"} {
			from, to := io.Pipe()
			results[path], bodies[path] = make(chan result, 1), to
			r := s.Request(http.MethodPut, path, "")
			r.Body, r.ContentLength = from, -1
			go func() {
				reply, err := s.Try(c, r)
				_ = from.CloseWithError(io.ErrClosedPipe)
				results[path] <- result{reply, err}
			}()
			_, err := to.Write([]byte("first"))
			require.NoError(t, err)
			await(t, f.lines[path])
		}
		requireEnded(t, s.revoke("alice", "first"), "files/1")
		f.requireUpstreamEnded(t, k, "/files/1")
		for err := error(nil); err == nil; { // until the client's connection fails
			_, err = bodies["/files/1"].Write([]byte("more"))
		}
		require.Error(t, await(t, results["/files/1"]).err)
		_, err := bodies["/files/2"].Write([]byte("second"))
		require.NoError(t, err)
		require.NoError(t, bodies["/files/2"].Close())
		require.NoError(t, await(t, f.ended["/files/2"]))
		whole := await(t, results["/files/2"])
		require.NoError(t, whole.err)
		require.Equal(t, 200, whole.reply.StatusCode)
	})
}

func TestG2_ARevocationClosesTheWebSocket(t *testing.T) {
	for _, k := range []kind{kinds["http1"], kinds["http1-tls"]} {
		ended := map[string]chan error{"/files/1": make(chan error, 1), "/files/2": make(chan error, 1)}
		s := newStation(t, k, func(w http.ResponseWriter, r *http.Request) {
			conn, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			for err == nil {
				var text []byte
				if _, text, err = conn.Read(context.Background()); err == nil {
					err = conn.Write(context.Background(), websocket.MessageText, append([]byte("echo "), text...))
				}
			}
			ended[r.URL.Path] <- err
		})
		c := s.Client(servertest.HTTP1, s.Issue("spiffe://interlock.test/alice"))
		c.Timeout = 0
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		dial := func(path string) *websocket.Conn {
			conn, response, err := websocket.Dial(ctx, s.URL+path, &websocket.DialOptions{HTTPClient: c}) //nolint:bodyclose // of an upgrade
			require.NoError(t, err)
			require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
			return conn
		}
		echo := func(conn *websocket.Conn) {
			require.NoError(t, conn.Write(ctx, websocket.MessageText, []byte("hello")))
			_, text, err := conn.Read(ctx)
			require.NoError(t, err)
			require.Equal(t, "echo hello", string(text))
		}
		forbidden, allowed := dial("/files/1"), dial("/files/2")
		echo(forbidden)
		echo(allowed)
		requireEnded(t, s.revoke("alice", "first"), "files/1")
		require.Len(t, ended["/files/1"], 1, "the receipt came before the upstream's handler ended")
		require.Error(t, await(t, ended["/files/1"]))
		_, _, err := forbidden.Read(ctx)
		require.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err), "%v", err)
		echo(allowed)
		require.NoError(t, allowed.Close(websocket.StatusNormalClosure, ""))
		require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(await(t, ended["/files/2"])))
		s.requireNoLeases()
	}
}

// TestG2_TheLeaseOutlivesTheAnswer has an upstream that answers before it has read the request's
// body, and reads on. The handler of the gateway has its response then, but the call goes on.
func TestG2_TheLeaseOutlivesTheAnswer(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind, wire servertest.Wire) {
		if k.protocol == gateway.HTTP2 {
			return // net/http ends the stream when the handler returns, and with it the request's body
		}
		var last atomic.Int64 // when the upstream read something the last time
		s := newStation(t, k, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.Header().Set("Content-Length", "2")
			_, _ = io.WriteString(w, "ok")
			_ = http.NewResponseController(w).Flush()
			data := make([]byte, 1)
			for {
				_, err := r.Body.Read(data)
				if err != nil {
					return
				}
				last.Store(time.Now().UnixNano())
			}
		})
		c := s.Client(wire, s.Issue("spiffe://interlock.test/alice"))
		for range 5 {
			from, to := io.Pipe()
			var writing sync.WaitGroup
			writing.Go(func() {
				pace := time.NewTicker(200 * time.Microsecond)
				defer pace.Stop()
				var err error
				for err == nil {
					<-pace.C
					_, err = to.Write([]byte("x"))
				}
			})
			r := s.Request(http.MethodPut, "/files/1", "")
			r.Body, r.ContentLength = from, -1
			got, err := s.Try(c, r)
			if err == nil {
				require.Equal(t, "ok", got.Text)
			}
			receipt := s.revoke("alice", "first")
			returned := time.Now()
			_ = from.CloseWithError(errors.New("over"))
			writing.Wait()
			s.requireNoLeases()
			s.grant("alice", "first")
			require.LessOrEqual(t, last.Load(), returned.UnixNano(), "the upstream got a part of the body after the receipt %d", receipt.Revision)
		}
	})
}

func TestG2_ACallHasTheGraceOfItsRoute(t *testing.T) {
	f := newFeeds()
	s := newStation(t, kinds["http1"], f.download, func(c *gateway.Config) { c.Routes[0].Grace = new(time.Second) })
	forbidden := s.open(s.As("alice"), s.Request(http.MethodGet, "/files/1", ""))
	done := make(chan actors.Receipt, 1)
	go func() { done <- s.revoke("alice", "first") }()
	require.Eventually(t, func() bool { return len(s.leases()) == 1 && s.leases()[0].Revoked != 0 }, patience, time.Millisecond)
	f.lines["/files/1"] <- "in the grace"
	forbidden.requireLine("in the grace")
	requireEnded(t, await(t, done), "files/1")
	forbidden.requireCut()
}
