package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// http2 is net/http's own client on one connection.
type http2 struct {
	conn     *http.ClientConn
	request  *http.Request
	question question
	answer   []byte
}

func dialHTTP2(ctx context.Context, address string, config *tls.Config, q question) (connection, error) {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	transport := &http.Transport{Protocols: protocols, TLSClientConfig: config, DisableCompression: true}
	conn, err := transport.NewClientConn(ctx, "https", address)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequest(q.method, "https://"+serverName+q.path, nil)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	r.Header.Set("User-Agent", "") // sends none
	if name, value, ok := strings.Cut(q.header, ": "); ok {
		r.Header.Set(name, value)
	}
	if q.body != "" {
		r.Header.Set("Content-Type", "application/json")
		r.ContentLength = int64(len(q.body))
	}
	// One byte more than is expected, so that a longer answer is noticed.
	return &http2{conn: conn, request: r, question: q, answer: make([]byte, len(q.answer)+1)}, nil
}

// Close implements [connection].
func (c *http2) Close() error { return c.conn.Close() }

func (c *http2) ask() error {
	if c.question.body != "" {
		c.request.Body = io.NopCloser(strings.NewReader(c.question.body))
	}
	got, err := c.conn.RoundTrip(c.request)
	if err != nil {
		return err
	}
	n, err := io.ReadFull(got.Body, c.answer)
	if closed := got.Body.Close(); closed != nil {
		return closed
	}
	switch {
	case got.StatusCode != http.StatusOK || got.ProtoMajor != 2:
		return fmt.Errorf("%w to %s %s: %s %s", ErrAnswer, c.question.method, c.question.path, got.Proto, got.Status)
	case err != nil && err != io.EOF && err != io.ErrUnexpectedEOF: // those of an answer that is shorter
		return err
	}
	return c.question.check(c.answer[:n])
}
