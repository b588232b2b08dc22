package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
)

// ErrAnswer is wrapped when a server's answer is not the expected one.
var ErrAnswer = errors.New("wire: not the expected answer")

// connection asks one question by one connection. Its methods are for one goroutine, but
// for Close, which ends an ask that is under way.
type connection interface {
	// ask sends the question and reads the whole answer.
	ask() error
	Close() error
}

// The protocols.
const (
	HTTP1 = "h1"
	HTTP2 = "h2"
)

// protocol is a way to connect.
type protocol struct {
	name  string
	title string
	dial  func(ctx context.Context, address string, config *tls.Config, q question) (connection, error)
}

var protocols = []*protocol{
	{HTTP1, "HTTP/1.1", dialHTTP1},
	{HTTP2, "HTTP/2", dialHTTP2},
}

func protocolNamed(name string) (*protocol, error) {
	for _, p := range protocols {
		if p.name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%w: the protocol %.40q is not known; choose of %s and %s", ErrOptions, name, HTTP1, HTTP2)
}

// check compares an answer with the expected one.
func (q question) check(body []byte) error {
	if string(body) != q.answer {
		return fmt.Errorf("%w to %s %s: %.200q in place of %q", ErrAnswer, q.method, q.path, body, q.answer)
	}
	return nil
}
