package httpapi_test

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// What HTTP/2 consists of (RFC 9113, section 6), as far as an attacker needs it.
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	framePing         = 6
	frameGoAway       = 7
	frameWindow       = 8
	frameContinuation = 9

	endStream  = 1
	endHeaders = 4
	ack        = 1

	codeCancel   = 8
	largestFrame = 16 << 10
)

// frame makes one frame, whatever sense it makes.
func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	head = binary.BigEndian.AppendUint32(append(head, flags), stream)
	return append(head, payload...)
}

func word(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

// literal is a header field that is not put into the table of HPACK (RFC 7541); kind 0x40 is
// one that is.
func literal(kind byte, name, value string) []byte {
	field := append([]byte{kind}, lengthOf(len(name))...)
	field = append(append(field, name...), lengthOf(len(value))...)
	return append(field, value...)
}

// lengthOf is an integer with a prefix of seven bits.
func lengthOf(n int) []byte {
	if n < 127 {
		return []byte{byte(n)}
	}
	out := []byte{127}
	for n -= 127; n >= 128; n >>= 7 {
		out = append(out, byte(n)|128)
	}
	return append(out, byte(n))
}

// headerBlock is that of a request.
func headerBlock(method, path string) []byte {
	var block []byte
	for _, field := range [][2]string{{":method", method}, {":scheme", "https"}, {":authority", "a"}, {":path", path}} {
		block = append(block, literal(0, field[0], field[1])...)
	}
	return block
}

// rawConn is a connection of TLS with nothing that knows HTTP on the client's side.
type rawConn struct {
	*tls.Conn
	t    testing.TB
	read *bufio.Reader
}

// dial connects as the holder of a certificate, perhaps of none, by a protocol of HTTP.
func (s *station) dial(speaks servertest.Wire, chain ...tls.Certificate) *rawConn {
	s.T.Helper()
	config := &tls.Config{
		RootCAs: s.Authority.Pool(), Certificates: chain,
		NextProtos: map[servertest.Wire][]string{servertest.HTTP1: {"http/1.1"}, servertest.HTTP2: {"h2"}}[speaks],
	}
	conn, err := tls.Dial("tcp", s.address(), config)
	require.NoError(s.T, err)
	raw := conn.NetConn() // which is small enough to be kept
	s.T.Cleanup(func() { _ = raw.Close() })
	return &rawConn{Conn: conn, t: s.T, read: bufio.NewReader(conn)}
}

func (s *station) address() string { return strings.TrimPrefix(s.URL, "https://") }

// dialFrames connects by HTTP/2 and says what is said first; settings are pairs of a number
// of two bytes and a value.
func (s *station) dialFrames(chain []tls.Certificate, settings ...uint32) *rawConn {
	s.T.Helper()
	c := s.dial(servertest.HTTP2, chain...)
	var own []byte
	for i := 0; i < len(settings); i += 2 {
		own = binary.BigEndian.AppendUint16(own, uint16(settings[i]))
		own = binary.BigEndian.AppendUint32(own, settings[i+1])
	}
	c.send([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(frameSettings, 0, 0, own))
	return c
}

// send writes frames that have to get through.
func (c *rawConn) send(frames ...[]byte) {
	c.t.Helper()
	for _, f := range frames {
		_, err := c.Write(f)
		require.NoError(c.t, err)
	}
}

// open begins a stream.
func (c *rawConn) open(stream uint32, method, path string) {
	c.t.Helper()
	flags := byte(endHeaders)
	if method == "GET" {
		flags |= endStream
	}
	c.send(frame(frameHeaders, flags, stream, headerBlock(method, path)))
}

// received is a frame of the server.
type received struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

// next reads a frame, and acknowledges settings.
func (c *rawConn) next() (received, error) {
	_ = c.SetReadDeadline(time.Now().Add(slowest))
	head := make([]byte, 9)
	if _, err := io.ReadFull(c.read, head); err != nil {
		return received{}, err
	}
	got := received{kind: head[3], flags: head[4], stream: binary.BigEndian.Uint32(head[5:])}
	got.payload = make([]byte, binary.BigEndian.Uint32(head)>>8)
	if _, err := io.ReadFull(c.read, got.payload); err != nil {
		return received{}, err
	}
	if got.kind == frameSettings && got.flags&ack == 0 {
		_, err := c.Write(frame(frameSettings, ack, 0, nil))
		return got, err
	}
	return got, nil
}

// until reads frames up to one for which is holds, or the end of the connection.
func (c *rawConn) until(is func(received) bool) (received, error) {
	for {
		got, err := c.next()
		if err != nil || is(got) {
			return got, err
		}
	}
}

// untilAnswered reads to the end of a stream, which may be that of the connection.
func (c *rawConn) untilAnswered(stream uint32) (received, error) {
	return c.until(func(got received) bool {
		return got.stream == stream && (got.kind == frameReset || got.flags&endStream != 0 && got.kind <= frameHeaders)
	})
}
