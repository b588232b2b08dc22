package wire

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// status asks a server with the certificates, if any.
func status(t *testing.T, p *protocol, address string, config *tls.Config, q question) (int, string) {
	t.Helper()
	over := new(http.Protocols)
	over.SetHTTP1(p.name == HTTP1)
	over.SetHTTP2(p.name == HTTP2)
	transport := &http.Transport{Protocols: over, TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), q.method, "https://"+address+q.path, strings.NewReader(q.body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	got, err := transport.RoundTrip(r)
	require.NoError(t, err)
	defer func() { require.NoError(t, got.Body.Close()) }()
	text, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	return got.StatusCode, string(text)
}

// What is compared has to do what its row says: let in who may, refuse who has no
// certificate, and, where there is a policy, who has no grant.
func TestServersAnswerAsTheyShould(t *testing.T) {
	at := newTestSite(t, 1)
	const stranger = "spiffe://bench.test/stranger"
	strange, err := at.issue(stranger)
	require.NoError(t, err)
	for _, test := range []struct {
		name               string
		anonymous, unknown int
		answer             string // to the stranger
	}{
		{bare, 200, 200, okAnswer},
		{routed, 401, 200, okAnswer},
		{execute, 401, 403, ""},
		{admit, 401, 403, ""},
		{evaluations, 401, 200, "{\"decision\":false}\n"},
		{exchange, 401, 403, ""},
	} {
		c := start(t, at, test.name)
		s, err := serverNamed(test.name)
		require.NoError(t, err)
		for _, p := range protocols {
			require.NoError(t, askOnce(t, p, c.address, at.client(at.callers[0]), s.question(principal(0))), "%s %s", p.name, s.name)
			got, _ := status(t, p, c.address, at.client(), s.question(principal(0)))
			require.Equal(t, test.anonymous, got, "%s %s without a certificate", p.name, s.name)
			got, answer := status(t, p, c.address, at.client(strange), s.question(stranger))
			require.Equal(t, test.unknown, got, "%s %s without a grant", p.name, s.name)
			if got == http.StatusOK {
				require.Equal(t, test.answer, answer, "%s %s", p.name, s.name)
			}
		}
	}
}

// The load takes no other answer for the expected one.
func TestLoadRefusesOtherAnswers(t *testing.T) {
	at := newTestSite(t, 1)
	const stranger = "spiffe://bench.test/stranger"
	strange, err := at.issue(stranger)
	require.NoError(t, err)
	for _, name := range []string{execute, admit, evaluations} {
		c := start(t, at, name)
		s, err := serverNamed(name)
		require.NoError(t, err)
		for _, p := range protocols {
			require.ErrorIs(t, askOnce(t, p, c.address, at.client(strange), s.question(stranger)), ErrAnswer, "%s %s", p.name, name)
		}
	}
}

// One wrong answer ends the measurement for all callers.
func TestOneWrongAnswerEndsAll(t *testing.T) {
	at := newTestSite(t, 2)
	for _, p := range protocols {
		s := &side{server: must(serverNamed(evaluations)), child: start(t, at, evaluations)}
		require.NoError(t, s.connect(t.Context(), p, at, 2))
		s.callers[1].connection = mistaken{s.callers[1].connection}
		require.ErrorIs(t, s.measure(t.Context(), mostEach), ErrAnswer, "and long before the interval is over")
		require.Empty(t, s.rate)
		s.hangUp()
	}
}

// mistaken takes every answer for wrong.
type mistaken struct{ connection }

func (m mistaken) ask() error {
	if err := m.connection.ask(); err != nil {
		return err
	}
	return question{}.check([]byte("another"))
}

// A server that does not answer is not waited for without end.
func TestStalledServerEndsTheMeasurement(t *testing.T) {
	conn := &silent{closed: make(chan struct{})}
	s := &side{callers: []*caller{{connection: conn, latencies: newHistogram()}}}
	require.ErrorIs(t, s.run(t.Context(), time.Now().Add(10*time.Millisecond-patience)), errStalled)
}

// silent never answers.
type silent struct {
	closed chan struct{}
	once   sync.Once
}

func (s *silent) ask() error   { <-s.closed; return net.ErrClosed }
func (s *silent) Close() error { s.once.Do(func() { close(s.closed) }); return nil }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// The caller is the one that the ingress names. The server ignores such headers from other clients.
func TestProxiedServerTrustsOnlyTheIngress(t *testing.T) {
	at := newTestSite(t, 1)
	c := start(t, at, proxied)
	q := readOrder(principal(0))
	for _, p := range protocols {
		got, _ := status(t, p, c.address, at.client(at.ingress), q)
		require.Equal(t, 401, got, "no certificate is sent on")
		got, _ = status(t, p, c.address, at.client(at.callers[0]), q)
		require.Equal(t, 401, got, "no proxy")
		s := &side{server: must(serverNamed(proxied)), child: c}
		require.NoError(t, s.connect(t.Context(), p, at, 1))
		require.NoError(t, s.callers[0].ask())
		s.hangUp()
	}
}
