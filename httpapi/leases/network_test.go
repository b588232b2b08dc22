package leases_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/client"
)

// network connects clients to a handler without sockets, so that its time is that of
// testing/synctest. It can be cut: then nothing arrives in either direction, and no connection
// breaks.
type network struct {
	s      *station
	conns  chan net.Conn
	closed chan struct{}
	server *http.Server

	mu  sync.Mutex
	cut chan struct{} // closed when the cut ends; nil for none
}

func newNetwork(s *station, handler http.Handler) *network {
	n := &network{s: s, conns: make(chan net.Conn), closed: make(chan struct{}), server: &http.Server{Handler: handler, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.server.Serve(n)
	}()
	s.t.Cleanup(func() {
		n.mend()
		_ = n.server.Close()
		<-done
	})
	return n
}

// Accept implements [net.Listener].
func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (n *network) Close() error {
	close(n.closed)
	return nil
}

// Addr implements [net.Listener].
func (n *network) Addr() net.Addr { return &net.UnixAddr{Name: "leases"} }

func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if err := n.pass(ctx); err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	select {
	case n.conns <- far:
		return &cuttable{Conn: near, n: n}, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

// pass waits while the network is cut.
func (n *network) pass(ctx context.Context) error {
	n.mu.Lock()
	cut := n.cut
	n.mu.Unlock()
	if cut == nil {
		return nil
	}
	select {
	case <-cut:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *network) sever() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = make(chan struct{})
}

func (n *network) mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut != nil {
		close(n.cut)
		n.cut = nil
	}
}

// cuttable is a connection of the network.
type cuttable struct {
	net.Conn
	n *network
}

func (c *cuttable) Write(p []byte) (int, error) {
	_ = c.n.pass(context.Background())
	return c.Conn.Write(p)
}

func (c *cuttable) Read(p []byte) (int, error) {
	read, err := c.Conn.Read(p)
	_ = c.n.pass(context.Background())
	return read, err
}

// asCaller adds the headers by which the server identifies a caller.
type asCaller struct {
	http.RoundTripper
	name string
	cert func() string
}

func (a *asCaller) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Caller", a.name)
	r.Header.Set("Certificate", a.cert())
	return a.RoundTripper.RoundTrip(r)
}

// client is a client of the caller, on a clock of synctest.
func (n *network) client(name string, alter ...func(*client.Options)) *client.Client {
	begin := time.Now()
	o := client.Options{
		BaseURL: "http://leases", Clock: func() time.Duration { return time.Since(begin) },
		HTTPClient: &http.Client{Transport: &asCaller{
			RoundTripper: &http.Transport{DialContext: n.dial, MaxIdleConnsPerHost: 4}, name: name, cert: func() string { return "1" },
		}},
	}
	for _, f := range alter {
		f(&o)
	}
	c, err := client.New(o)
	require.NoError(n.s.t, err)
	n.s.t.Cleanup(func() {
		n.mend()
		c.Close()
		synctest.Wait()
	})
	return c
}

// work is the operation that the tests acquire leases for.
var work = client.Evaluation{Action: client.Action{Name: "jobs:run"}, Resource: client.Entity{Type: "jobs", ID: "7"}}
