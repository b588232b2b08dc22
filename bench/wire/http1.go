package wire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// http1 writes the same bytes again and again and reads no more of an answer than it
// needs, for the load takes its processor time from the server's processors.
type http1 struct {
	conn     net.Conn
	in       *bufio.Reader
	request  []byte
	question question
}

func dialHTTP1(ctx context.Context, address string, config *tls.Config, q question) (connection, error) {
	config.NextProtos = []string{"http/1.1"}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return newHTTP1(conn, q), nil
}

func newHTTP1(conn net.Conn, q question) *http1 {
	var request strings.Builder
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: %s\r\n", q.method, q.path, serverName)
	if q.header != "" {
		request.WriteString(q.header + "\r\n")
	}
	if q.body != "" {
		fmt.Fprintf(&request, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(q.body))
	}
	request.WriteString("\r\n" + q.body)
	return &http1{conn: conn, in: bufio.NewReader(conn), request: []byte(request.String()), question: q}
}

// Close implements [connection]. The connection under TLS is closed at once: the farewell
// of TLS would wait for an ask that is under way.
func (c *http1) Close() error {
	if t, ok := c.conn.(*tls.Conn); ok {
		return t.NetConn().Close()
	}
	return c.conn.Close()
}

func (c *http1) ask() error {
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	status, err := c.line()
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("%w to %s %s: %.80q", ErrAnswer, c.question.method, c.question.path, status)
	}
	length, err := c.header()
	if err != nil {
		return err
	}
	body, err := c.in.Peek(length)
	if err != nil {
		return err
	}
	if err := c.question.check(body); err != nil {
		return err
	}
	_, err = c.in.Discard(length)
	return err
}

// lengthHeader is spelled as net/http's server spells it.
var lengthHeader = []byte("Content-Length: ")

// header reads the header and returns the length of the body. Short answers have one.
func (c *http1) header() (int, error) {
	length := -1
	for {
		line, err := c.line()
		if err != nil {
			return 0, err
		}
		if len(line) == 0 {
			break
		}
		if text, ok := bytes.CutPrefix(line, lengthHeader); ok {
			if length, err = strconv.Atoi(string(text)); err != nil {
				return 0, fmt.Errorf("%w: its length is %.40q", ErrAnswer, text)
			}
		}
	}
	if length < 0 || length > c.in.Size() {
		return 0, fmt.Errorf("%w to %s %s: it has no length, or one of more than %d bytes",
			ErrAnswer, c.question.method, c.question.path, c.in.Size())
	}
	return length, nil
}

// line reads a line, which is valid until the next is read, without its end.
func (c *http1) line() ([]byte, error) {
	line, err := c.in.ReadSlice('\n')
	return bytes.TrimRight(line, "\r\n"), err
}
