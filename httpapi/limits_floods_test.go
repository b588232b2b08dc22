package httpapi_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

const (
	// streams is how many requests may be under way on a connection.
	streams = 128
	// affordable is how much the heap may grow under an attack.
	affordable = 160 << 20
)

// crowd counts the handlers that run at the same time.
type crowd struct {
	now, most, all atomic.Int64
	leave          chan struct{} // closed to let them return
}

func (c *crowd) ServeHTTP(http.ResponseWriter, *http.Request) {
	now := c.now.Add(1)
	defer c.now.Add(-1)
	c.all.Add(1)
	for most := c.most.Load(); now > most && !c.most.CompareAndSwap(most, now); most = c.most.Load() {
	}
	<-c.leave
}

// resets are requests of which each is taken back at once; renumber gives them streams.
func resets(path string, requests int) []byte {
	one := frame(frameHeaders, endHeaders|endStream, 1, headerBlock("GET", path))
	one = append(one, frame(frameReset, 0, 1, word(codeCancel))...)
	return bytes.Repeat(one, requests)
}

// renumber gives each request of resets a stream of its own, from first on.
func renumber(frames []byte, first uint32) (next uint32) {
	for len(frames) > 0 {
		size := 9 + int(binary.BigEndian.Uint32(frames)>>8)
		binary.BigEndian.PutUint32(frames[5:], first)
		if frames[3] == frameReset {
			first += 2
		}
		frames = frames[size:]
	}
	return first
}

// resetRapidly goes on until the server has had enough, or the time is up; it reports
// whether the server had.
func (s *guardStation) resetRapidly(chain []tls.Certificate, path string, until time.Time) bool {
	conn := s.dialFrames(chain)
	defer func() { _ = conn.NetConn().Close() }()
	go listen(conn)
	_ = conn.SetWriteDeadline(until)
	batch, stream := resets(path, 64), uint32(1)
	for {
		stream = renumber(batch, stream)
		if _, err := conn.Write(batch); err != nil {
			return !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
}

// TestLimits_RapidReset is CVE-2023-44487: requests that are taken back at once make
// room for others, while their handlers go on.
//
// SECURITY, line 10.
func TestLimits_RapidReset(t *testing.T) {
	s := besieged(t)
	stays, returns := &crowd{leave: make(chan struct{})}, &crowd{leave: make(chan struct{})}
	close(returns.leave)
	s.router.Handle("/stays/1", stays) // a guard would not begin what was taken back
	s.protect("returns", httpapi.Rule{Action: "orders:read"}, returns.ServeHTTP)
	bob, before := []tls.Certificate{s.Issue("spiffe://interlock.test/bob")}, footprintNow()
	honest, grown := s.besides(), peak()

	require.True(t, s.resetRapidly(bob, "/stays/1", time.Now().Add(patience)), "the connection is ended")
	require.Eventually(t, func() bool { return stays.now.Load() == streams }, patience, time.Millisecond, "so many run, whatever was taken back")
	close(stays.leave)
	require.Eventually(t, func() bool { return stays.now.Load() == 0 }, patience, time.Millisecond)
	require.EqualValues(t, streams, stays.most.Load())
	require.EqualValues(t, streams, stays.all.Load(), "what had not begun does not begin any more")

	connections, until := int64(0), time.Now().Add(either(time.Second, 10*time.Second))
	for time.Now().Before(until) {
		s.resetRapidly(bob, "/returns/1", until)
		connections++
	}
	require.LessOrEqual(t, returns.most.Load(), connections*streams)
	require.Less(t, grown(), uint64(affordable))
	t.Logf("%d handlers began on %d connections, %d at once at most", returns.all.Load(), connections, returns.most.Load())
	honest.requireServed(t)
	s.requireNoLeases()
	before.requireBack(t)
}

// floodWith writes the same until it cannot.
func floodWith(conn net.Conn, what []byte) {
	for err := error(nil); err == nil; {
		_, err = conn.Write(what)
	}
}

// TestLimits_Floods sends frames that cost the sender nothing, without an end, and reads
// no answer: continued headers, pings, data on no stream, windows that overflow, frames that
// are unknown and too large, settings. The connection is ended before that costs much.
//
// SECURITY, line 10.
func TestLimits_Floods(t *testing.T) {
	s := besieged(t)
	bob := []tls.Certificate{s.Issue("spiffe://interlock.test/bob")}
	fields := bytes.Repeat(literal(0, "x-a", "value"), largestFrame/11)
	begins := frame(frameHeaders, endStream, 1, headerBlock("GET", "/read/1"))
	before, honest, grown := footprintNow(), s.besides(), peak()
	var attackers sync.WaitGroup
	var ends []net.Conn
	floods := [][2][]byte{ // what begins it, and what is sent then
		{begins, frame(frameContinuation, 0, 1, fields)},
		{nil, bytes.Repeat(frame(framePing, 0, 0, make([]byte, 8)), 1000)},
		{nil, bytes.Repeat(frame(frameData, 0, 1, []byte{1}), 1000)},
		{nil, bytes.Repeat(frame(frameWindow, 0, 0, word(1<<31-1)), 1000)},
		{nil, frame(99, 0, 0, make([]byte, 1<<24-1))},
		{nil, bytes.Repeat(frame(frameSettings, 0, 0, []byte{0, 4, 255, 255, 255, 255}), 1000)},
	}
	limit := 3 * patience
	if soak() { // of many at once one is acknowledged, so it takes long until no answer goes out any more
		limit = 18 * patience
		floods = append(floods, [2][]byte{nil, bytes.Repeat(frame(frameSettings, 0, 0, nil), 1000)})
	}
	for _, flood := range floods {
		conn := s.dialFrames(bob)
		_ = conn.NetConn().(*net.TCPConn).SetReadBuffer(64 << 10) // so that the system takes few of the answers
		conn.send(flood[0])
		attackers.Go(func() { floodWith(conn, flood[1]) })
		ends = append(ends, conn.NetConn())
	}
	// One is left, that of the honest; whether the others notice is for their systems to say.
	require.Eventually(t, func() bool { return s.Connections.Counts().Open == 1 }, limit, time.Millisecond)
	for _, conn := range ends {
		_ = conn.Close()
	}
	attackers.Wait()
	require.Less(t, grown(), uint64(affordable))
	honest.requireServed(t)
	s.requireOpen(0)
	before.requireBack(t)
}

// TestLimits_Streams are refused, those below it are served.
//
// SECURITY, line 10.
func TestLimits_Streams(t *testing.T) {
	s := besieged(t)
	all := &crowd{leave: make(chan struct{})}
	s.protect("stays", httpapi.Rule{Action: "orders:read"}, all.ServeHTTP)
	conn := s.dialFrames([]tls.Certificate{s.Issue("spiffe://interlock.test/bob")})
	_, err := conn.until(func(got received) bool { return got.kind == frameSettings && got.flags&ack == ack })
	require.NoError(t, err)
	for i := range uint32(streams + 1) {
		conn.open(2*i+1, "GET", "/stays/1")
	}
	last, err := conn.untilAnswered(2*streams + 1)
	require.NoError(t, err)
	require.EqualValues(t, frameReset, last.kind)
	require.Eventually(t, func() bool { return all.now.Load() == streams }, patience, time.Millisecond)
	close(all.leave)
	for served := 0; served < streams; {
		got, err := conn.next()
		require.NoError(t, err)
		if got.kind == frameHeaders {
			require.EqualValues(t, 0x88, got.payload[0], "status 200")
			served++
		}
	}
	require.EqualValues(t, streams, all.most.Load())
}

// TestLimits_Headers sends more headers than the limit: few large ones, many
// small ones, and compressed ones that grow when they are decoded.
//
// SECURITY, line 10.
func TestLimits_Headers(t *testing.T) {
	s := besieged(t)
	reached := atomic.Int64{}
	s.protect("reached", httpapi.Rule{Action: "orders:read"}, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	bob := []tls.Certificate{s.Issue("spiffe://interlock.test/bob")}
	before, grown := footprintNow(), peak()
	var refused []func() // all begin at once
	for name, headers := range map[string][]byte{
		"one of 70 KiB": []byte("A: " + string(bytes.Repeat([]byte{'b'}, 70<<10)) + "\r\n"),
		"100,000 lines": bytes.Repeat([]byte("a:b\r\n"), 100_000),
		"a long path":   nil,
	} {
		conn, path := s.dial(servertest.HTTP1, bob...), "/reached/1"
		if headers == nil {
			path += "?" + string(bytes.Repeat([]byte{'q'}, 70<<10))
		}
		go func() {
			_, _ = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\n")
			_, _ = conn.Write(append(headers, "\r\n"...))
		}()
		refused = append(refused, func() {
			got, err := http.ReadResponse(conn.read, nil)
			require.NoError(t, err, name)
			_ = got.Body.Close()
			require.Equal(t, 431, got.StatusCode, name)
		})
	}
	for name, fields := range map[string][]byte{
		"one of 70 KiB": literal(0, "a", string(bytes.Repeat([]byte{'b'}, 70<<10))),
		"100,000":       bytes.Repeat(literal(0, "a", "b"), 100_000),
		// The table holds one field of almost 4 KiB, and each byte stands for it.
		"400 MB in 100 KB": append(literal(0x40, "a", string(bytes.Repeat([]byte{'b'}, 4000))), bytes.Repeat([]byte{0x80 | 62}, 100_000)...),
	} {
		conn := s.dialFrames(bob)
		go func() { // who has had enough may end the connection before all is sent
			kind, block := byte(frameHeaders), append(headerBlock("GET", "/reached/1"), fields...)
			for len(block) > 0 {
				part := block[:min(largestFrame, len(block))]
				block = block[len(part):]
				flags := map[bool]byte{true: endHeaders}[len(block) == 0]
				_, _ = conn.Write(frame(kind, flags|endStream, 1, part))
				kind = frameContinuation
			}
		}()
		refused = append(refused, func() {
			got, err := conn.untilAnswered(1)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, name)
			_ = conn.NetConn().Close()
			require.False(t, err == nil && got.kind == frameHeaders && got.payload[0] == 0x88, "%s: status 200", name)
		})
	}
	for _, is := range refused {
		is()
	}
	require.Zero(t, reached.Load())
	require.Less(t, grown(), uint64(affordable))
	s.requireOpen(0)
	before.requireBack(t)
}
