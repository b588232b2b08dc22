package httpapi_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// soak reports whether the long form of the tests was asked for.
func soak() bool { return os.Getenv("INTERLOCK_SOAK") == "1" }

// either returns what the short form or the long one needs.
func either[T any](short, long T) T {
	if soak() {
		return long
	}
	return short
}

// slowest is how long anything may take until the server ends it.
var slowest = either(patience, 3*time.Minute)

// hasten shortens the timeouts that a server has, and only these: one that it lacks stays
// away. That for headers is the handshake's too, which takes its time on a busy machine.
func hasten(server *http.Server) {
	if soak() {
		return
	}
	for timeout, by := range map[*time.Duration]time.Duration{
		&server.ReadHeaderTimeout: 3, &server.ReadTimeout: 6, &server.WriteTimeout: 10, &server.IdleTimeout: 30,
		&server.HTTP2.SendPingTimeout: 10, &server.HTTP2.PingTimeout: 10, &server.HTTP2.WriteByteTimeout: 10,
	} {
		*timeout /= by
	}
}

// besieged is a guard station with the limits that a server has by itself, only sooner. Its
// log is not kept: it would count as memory.
func besieged(t *testing.T) *guardStation {
	t.Helper()
	s := newGuardStation(t)
	options := s.ServerOptions(s.router)
	options.Logger = slog.New(slog.DiscardHandler)
	server := httpapi.NewServer(options)
	hasten(server)
	s.Start(server)
	s.protect("read", httpapi.Rule{Action: "orders:read"}, nothing)
	return s
}

// honest is a client that asks for something small all the time.
type honest struct {
	stop  chan struct{}
	ended chan error
}

// besides starts an honest client, and waits until it is served.
func (s *guardStation) besides() *honest {
	s.T.Helper()
	c, r := s.As("alice"), s.Request(http.MethodGet, "/read/1", "")
	require.Equal(s.T, 200, s.Send(c, r).StatusCode)
	h := &honest{stop: make(chan struct{}), ended: make(chan error, 1)}
	go func() { h.ended <- h.run(s, c, r) }()
	return h
}

func (h *honest) run(s *guardStation, c *http.Client, r *http.Request) error {
	defer c.CloseIdleConnections()
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for {
		began := time.Now()
		got, err := s.Try(c, r)
		if err != nil {
			return fmt.Errorf("an honest client was not served: %w", err)
		}
		if took := time.Since(began); got.StatusCode != 200 || took > patience/2 {
			return fmt.Errorf("an honest client got %d after %v", got.StatusCode, took)
		}
		select {
		case <-h.stop:
			return nil
		case <-pace.C:
		}
	}
}

// requireServed ends it: it has been served all the time.
func (h *honest) requireServed(t testing.TB) {
	t.Helper()
	close(h.stop)
	require.NoError(t, <-h.ended)
}

// footprint is what a process takes.
type footprint struct {
	goroutines int
	heap       uint64
}

func footprintNow() footprint {
	runtime.GC()
	runtime.GC() // what finalizers and pools let go
	return footprint{goroutines: runtime.NumGoroutine(), heap: heapNow()}
}

func heapNow() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// requireBack waits until nothing is left of what happened since, but for some goroutines
// and 8 MiB that others may have taken.
func (f footprint) requireBack(t testing.TB) {
	t.Helper()
	var now footprint
	back := func() bool {
		now = footprintNow()
		return now.goroutines <= f.goroutines+8 && now.heap <= f.heap+8<<20
	}
	require.Eventually(t, back, patience, 50*time.Millisecond, "before %+v, after it %+v", f, &now)
}

// peak follows the heap; what it returns ends that, and tells how much it had grown at most.
func peak() func() uint64 {
	runtime.GC()
	before, stop, most := heapNow(), make(chan struct{}), make(chan uint64, 1)
	go func() {
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		highest := before
		for {
			select {
			case <-pace.C:
				highest = max(highest, heapNow())
			case <-stop:
				most <- highest - before
				return
			}
		}
	}()
	return func() uint64 { close(stop); return <-most }
}

// drip writes something again and again until it is cut off.
func drip(conn net.Conn, what ...byte) {
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for range pace.C {
		if _, err := conn.Write(what); err != nil {
			return
		}
	}
}

// listen does nothing until it is cut off.
func listen(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// sloth is a client that takes its time: it begins, and returns what it does from then on,
// which ends when the server has had enough.
type sloth struct {
	name  string
	begin func(s *guardStation, bob tls.Certificate) (dawdle func())
	early bool // it sends not even its headers, for which there is less time
}

// within is how long it may take: not as long as a request may with its body.
func (s sloth) within() time.Duration {
	if s.early {
		return either(4*time.Second, 15*time.Second)
	}
	return slowest
}

// earlier marks sloths that send no headers.
func earlier(sloths ...sloth) []sloth {
	for i := range sloths {
		sloths[i].early = true
	}
	return sloths
}

// onWire is a sloth that writes something on a connection of TLS, and goes on from there.
func onWire(name string, speaks servertest.Wire, text string, then func(*rawConn)) sloth {
	return sloth{name: name + ", " + string(speaks), begin: func(s *guardStation, bob tls.Certificate) func() {
		conn := s.dial(speaks, bob)
		conn.send([]byte(text))
		return func() { then(conn) }
	}}
}

// onFrames is the same with frames.
func onFrames(name string, settings []uint32, then func(*rawConn), frames ...[]byte) sloth {
	return sloth{name: name + ", frames", begin: func(s *guardStation, bob tls.Certificate) func() {
		conn := s.dialFrames([]tls.Certificate{bob}, settings...)
		conn.send(frames...)
		return func() { then(conn) }
	}}
}

func inHandshake(name string, then func(net.Conn)) sloth {
	return sloth{name: name, begin: func(s *guardStation, _ tls.Certificate) func() {
		conn, err := net.Dial("tcp", s.address())
		require.NoError(s.T, err)
		s.T.Cleanup(func() { _ = conn.Close() })
		return func() { then(conn) }
	}}
}

// readsStream reads the end of the first stream, to which it sends no more window.
func readsStream(c *rawConn) { _, _ = c.untilAnswered(1) }

// dripsStream sends a body of HTTP/2 by bytes until its stream is ended.
func dripsStream(c *rawConn) {
	go drip(c, frame(frameData, 0, 1, []byte{'x'})...)
	readsStream(c)
	_ = c.NetConn().Close()
}

func dripsText(c *rawConn) { drip(c, 'x') }

func dripsChunks(c *rawConn) { drip(c, []byte("1\r\nx\r\n")...) }

func listens(c *rawConn) { listen(c) }

// sloths are the ways to be slow: in the handshake, in headers, in bodies, and in reading.
func sloths() []sloth {
	unlimited := []uint32{4, 1<<31 - 1} // the window of a stream
	all := earlier(
		inHandshake("no handshake", listen),
		inHandshake("a handshake by bytes", func(conn net.Conn) {
			_, _ = conn.Write([]byte{22, 3, 1, 64, 0}) // the head of 16 KiB
			drip(conn, 1)
		}),
		onWire("nothing after the handshake", servertest.HTTP1, "", listens),
		onWire("a header by bytes", servertest.HTTP1, "GET /read/1 HTTP/1.1\r\nHost: a\r\nX-Slow: ", dripsText),
		onWire("headers by lines", servertest.HTTP1, "GET /read/1 HTTP/1.1\r\nHost: a\r\n", func(c *rawConn) { drip(c, []byte("A: b\r\n")...) }),
	)
	all = append(all,
		onFrames("a header by bytes", nil, dripsText, frame(frameHeaders, endHeaders, 1, make([]byte, largestFrame))[:9]),
		onFrames("headers by frames of nothing", nil, func(c *rawConn) { drip(c, frame(frameContinuation, 0, 1, nil)...) },
			frame(frameHeaders, endStream, 1, headerBlock("GET", "/read/1"))),
		onWire("an answer never read", servertest.HTTP1, "GET /flood/1 HTTP/1.1\r\nHost: a\r\n\r\n", dripsText),
		onFrames("a stream never read", nil, readsStream, frame(frameHeaders, endStream|endHeaders, 1, headerBlock("GET", "/flood/1"))),
		onFrames("an answer never read", unlimited, func(c *rawConn) { drip(c, frame(framePing, ack, 0, make([]byte, 8))...) },
			frame(frameWindow, 0, 0, word(1<<30)), frame(frameHeaders, endStream|endHeaders, 1, headerBlock("GET", "/flood/1"))),
		onFrames("pings and no request", nil, func(c *rawConn) {
			go listen(c)
			drip(c, frame(framePing, 0, 0, make([]byte, 8))...)
		}))
	for _, mode := range []string{"admit", "execute"} {
		put := "PUT /" + mode + "/1 HTTP/1.1\r\nHost: a\r\n"
		all = append(all,
			onWire("a body by bytes, "+mode, servertest.HTTP1, put+"Content-Length: 1000000\r\n\r\n", dripsText),
			onWire("a body by chunks, "+mode, servertest.HTTP1, put+"Transfer-Encoding: chunked\r\n\r\n", dripsChunks),
			onFrames("a body by bytes, "+mode, nil, dripsStream, frame(frameHeaders, endHeaders, 1, headerBlock("PUT", "/"+mode+"/1"))))
	}
	if soak() { // it has 10 s of net/http's own, which nothing shortens
		all = append(all, earlier(onWire("no preface", servertest.HTTP2, "", listens))...)
	}
	return all
}

// TestLimits_Slowloris has clients of all kinds of slowness at once. All are cut off, no
// operation of theirs is left, and an honest client is served the whole time.
//
// SECURITY, line 10.
func TestLimits_Slowloris(t *testing.T) {
	s := besieged(t)
	s.protect("admit", httpapi.Rule{Action: "orders:read"}, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	s.protect("execute", httpapi.Rule{Action: "orders:read", Mode: httpapi.Execute}, nothing)
	s.protect("flood", httpapi.Rule{Action: "orders:read"}, func(w http.ResponseWriter, r *http.Request) { newFlood().ServeHTTP(w, r) })
	bob, before := s.Issue("spiffe://interlock.test/bob"), footprintNow()
	honest := s.besides()
	type end struct {
		of   sloth
		took time.Duration
	}
	over, under := make(chan end), map[string]int{}
	for _, sloth := range sloths() {
		for range either(4, 50) {
			dawdle := sloth.begin(s, bob)
			under[sloth.name]++
			began := time.Now()
			go func() {
				dawdle()
				over <- end{sloth, time.Since(began)}
			}()
		}
	}
	limit := time.After(2 * slowest)
	for len(under) > 0 {
		select {
		case end := <-over:
			require.Less(t, end.took, end.of.within(), end.of.name)
			if under[end.of.name]--; under[end.of.name] == 0 {
				t.Logf("%s: cut off after %v", end.of.name, end.took.Round(100*time.Millisecond))
				delete(under, end.of.name)
			}
		case <-limit:
			require.Fail(t, "not cut off", "%v", under)
		}
	}
	honest.requireServed(t)
	s.requireNoLeases()
	s.requireOpen(0)
	before.requireBack(t)
}

// TestLimits_SlowClientsDelayOnlyTheirLease has a principal dawdle in all ways that
// reach a handler, while it asks for more, and is given more.
//
// SECURITY, line 10.
func TestLimits_SlowClientsDelayOnlyTheirLease(t *testing.T) {
	for _, speaks := range servertest.Wires {
		t.Run(string(speaks), func(t *testing.T) {
			s := newGuardStation(t)
			flood, inside := newFlood(), make(chan struct{}, 1)
			s.protect("flood", httpapi.Rule{Action: "orders:watch"}, flood.ServeHTTP)
			s.protect("admit", httpapi.Rule{Action: "orders:read"}, func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.ReadFull(r.Body, make([]byte, len("the beginning")))
				inside <- struct{}{}
				_, _ = io.Copy(io.Discard, r.Body)
			})
			s.protect("read", httpapi.Rule{Action: "orders:read"}, nothing)
			s.protect("execute", httpapi.Rule{Action: "orders:read", Mode: httpapi.Execute}, echo)
			s.protect("other", httpapi.Rule{Action: "orders:watch", Resource: "orders/{id}"}, nothing)
			bob := s.Issue("spiffe://interlock.test/bob")
			c := s.Client(speaks, bob)
			for _, path := range []string{"/admit/1", "/execute/1"} {
				slow := s.slowBody(path).WithContext(t.Context())
				go func() { _, _ = s.Try(c, slow) }()
			}
			reader, conn := s.stallingClient(speaks, "bob")
			got, err := reader.Do(s.Request(http.MethodGet, "/flood/1", ""))
			require.NoError(t, err)
			defer func() { _ = got.Body.Close() }()
			conn.Load().stalled.Store(true)
			await(t, inside)
			flood.requireBlocked(t)
			require.Len(t, s.leases(), 2, "that of the reader, and that of the writer")

			other := s.Client(speaks, bob)
			other.Timeout = patience / 2
			require.Equal(t, 200, s.Send(other, s.Request(http.MethodGet, "/read/1", "")).StatusCode)
			require.Equal(t, "x", s.Send(other, s.Request(http.MethodPut, "/execute/1", "x")).Text)
			require.Equal(t, 403, s.Send(other, s.Request(http.MethodGet, "/other/2", "")).StatusCode)
			require.Empty(t, requireQuiesced(t, s.update(policy.GrantRole(policy.Grant{Principal: who("bob"), Role: "watcher-of-2"}))).Ended)
			require.Equal(t, 200, s.Send(other, s.Request(http.MethodGet, "/other/2", "")).StatusCode)
			require.Len(t, s.leases(), 2, "they go on undisturbed")
			require.Empty(t, flood.ended)
			require.Len(t, requireQuiesced(t, s.revoke("bob", "reader")).Ended, 1, "the writer alone")
			require.Len(t, s.leases(), 1)
			_ = conn.Load().Close()
			require.Error(t, await(t, flood.ended))
		})
	}
}
