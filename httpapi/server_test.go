package httpapi_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

func criticalExtension() []pkix.Extension {
	return []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
}

func newServerStation(t *testing.T, handler http.HandlerFunc, alter ...func(*httpapi.ServerOptions)) *station {
	return newStation(t, authzenPolicy).serve(handler, alter...)
}

func nothing(http.ResponseWriter, *http.Request) {}

func TestServerHasAllLimits(t *testing.T) {
	server := httpapi.NewServer(httpapi.ServerOptions{})
	require.NotZero(t, server.ReadHeaderTimeout)
	require.NotZero(t, server.ReadTimeout)
	require.NotZero(t, server.WriteTimeout)
	require.NotZero(t, server.IdleTimeout)
	require.NotZero(t, server.MaxHeaderBytes)
	require.NotZero(t, server.HTTP2.MaxConcurrentStreams)
	own := httpapi.NewServer(httpapi.ServerOptions{Addr: "127.0.0.1:1", ReadTimeout: time.Second, MaxConcurrentStreams: 7})
	require.Equal(t, time.Second, own.ReadTimeout)
	require.Equal(t, 7, own.HTTP2.MaxConcurrentStreams)
	require.Equal(t, "127.0.0.1:1", own.Addr)
}

func TestServerSpeaksTLS13Only(t *testing.T) {
	s := newServerStation(t, nothing)
	config := &tls.Config{RootCAs: s.Authority.Pool(), MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL, "https://"), config)
	if err == nil {
		_ = conn.Close()
	}
	require.ErrorContains(t, err, "protocol version")
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestServerNamesRequests(t *testing.T) {
	s := newServerStation(t, func(w http.ResponseWriter, r *http.Request) {
		httpapi.WriteProblem(w, r, fmt.Errorf("what went wrong"))
	})
	for _, speaks := range servertest.Wires {
		c := s.Client(speaks)
		with := func(ids ...string) (string, string) {
			r := s.Request(http.MethodGet, "/", "")
			r.Header["X-Request-Id"] = ids
			got := s.Send(c, r)
			return got.Header.Get("X-Request-ID"), got.Problem(t)["instance"].(string)
		}
		for _, good := range []string{"a", "4bf92f35-77b3", "!~/", "a b", "a\tb", "ä", `"`, strings.Repeat("x", 256)} {
			id, instance := with(good)
			require.Equal(t, good, id)
			require.True(t, strings.HasPrefix(instance, "urn:interlock:request:"), instance)
		}
		for _, bad := range [][]string{nil, {""}, {strings.Repeat("x", 257)}, {"a", "b"}} {
			id, instance := with(bad...)
			require.Regexp(t, uuid, id)
			require.Equal(t, "urn:interlock:request:"+id, instance)
		}
	}
	first := s.Send(s.Client(servertest.HTTP1), s.Request(http.MethodGet, "/", "")).Header.Get("X-Request-ID")
	require.NotEqual(t, first, s.Send(s.Client(servertest.HTTP1), s.Request(http.MethodGet, "/", "")).Header.Get("X-Request-ID"))
}

// logged gives the records of the log.
func (s *station) logged() []map[string]any {
	s.T.Helper()
	var records []map[string]any
	for line := range strings.Lines(s.Log.String()) {
		var record map[string]any
		require.NoError(s.T, json.Unmarshal([]byte(line), &record))
		records = append(records, record)
	}
	return records
}

func TestServerLogsValuesAndNeverInTheMessage(t *testing.T) {
	s := newServerStation(t, func(w http.ResponseWriter, r *http.Request) {
		httpapi.WriteProblem(w, r, fmt.Errorf("the private cause"))
	})
	r := s.Request(http.MethodGet, "/marked%0Apath?marked=1", "")
	r.Header.Set("X-Request-ID", "marked-id")
	got := s.Send(s.Client(servertest.HTTP1), r)
	require.NotContains(t, got.Text, "private cause")
	_, err := s.Try(s.Client(servertest.HTTP1, s.IssueBy(s.NewAuthority("marked"), servertest.ClientLeaf("marked"))), s.Request(http.MethodGet, "/", ""))
	require.Error(t, err)
	require.Eventually(t, func() bool {
		return strings.Contains(s.Log.String(), "connection failed") && strings.Contains(s.Log.String(), `"msg":"request"`)
	}, 5*time.Second, 5*time.Millisecond)
	seen := map[string]map[string]any{}
	for _, record := range s.logged() {
		require.NotContains(t, record["msg"], "marked")
		seen[record["msg"].(string)] = record
	}
	require.Equal(t, "the private cause", seen["request refused"]["cause"])
	require.Equal(t, "ERROR", seen["request refused"]["level"])
	require.Equal(t, "marked-id", seen["request refused"]["request"])
	require.Equal(t, "/marked%0Apath", seen["request"]["path"])
	require.EqualValues(t, 500, seen["request"]["status"])
	require.Contains(t, seen["connection failed"]["detail"], "handshake")
}

func TestServerAnswersAPanic(t *testing.T) {
	s := newServerStation(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", "stale")
		panic("a secret")
	})
	for _, speaks := range servertest.Wires {
		got := s.Send(s.Client(speaks), s.Request(http.MethodGet, "/", ""))
		require.Equal(t, 500, got.StatusCode)
		require.Equal(t, "urn:interlock:problem:internal", got.Problem(t)["type"])
		require.NotContains(t, got.Text, "secret")
		require.Empty(t, got.Header.Get("Etag"))
	}
	require.Contains(t, s.Log.String(), "a secret")
	require.Contains(t, s.Log.String(), "server_test.go", "the stack")
}

func TestServerBreaksOffAnAnswerThatHasBegun(t *testing.T) {
	for name, what := range map[string]any{"a panic": "late", "http.ErrAbortHandler": http.ErrAbortHandler} {
		s := newServerStation(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half of it")
			_ = http.NewResponseController(w).Flush()
			panic(what)
		})
		for _, speaks := range servertest.Wires {
			_, err := s.Try(s.Client(speaks), s.Request(http.MethodGet, "/", ""))
			require.Error(t, err, "%s: the part is not taken for the whole", name)
		}
	}
}

func TestServerLetsAnAbortThrough(t *testing.T) {
	s := newServerStation(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for _, speaks := range servertest.Wires {
		_, err := s.Try(s.Client(speaks), s.Request(http.MethodGet, "/", ""))
		require.Error(t, err)
	}
	require.NotContains(t, s.Log.String(), "ErrAbortHandler")
}

func TestServerLimitsHeaders(t *testing.T) {
	served := make(chan string, 4)
	s := newServerStation(t, func(_ http.ResponseWriter, r *http.Request) { served <- r.Proto },
		func(o *httpapi.ServerOptions) { o.MaxHeaderBytes = 8 << 10 })
	for _, speaks := range servertest.Wires {
		r := s.Request(http.MethodGet, "/", "")
		r.Header.Set("X-Large", strings.Repeat("x", 64<<10))
		if got, err := s.Try(s.Client(speaks), r); err == nil {
			require.Equal(t, 431, got.StatusCode)
		}
		require.Empty(t, served, string(speaks))
	}
}

func TestServerEndsSlowRequests(t *testing.T) {
	s := newServerStation(t, nothing, func(o *httpapi.ServerOptions) { o.ReadHeaderTimeout = 100 * time.Millisecond })
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL, "https://"), &tls.Config{RootCAs: s.Authority.Pool(), NextProtos: []string{"http/1.1"}})
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = bufio.NewReader(conn).ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

func TestServerEndsSlowBodies(t *testing.T) {
	s := newStation(t, authzenPolicy)
	s.serve(s.decisions(), func(o *httpapi.ServerOptions) { o.ReadTimeout = 300 * time.Millisecond })
	for _, speaks := range servertest.Wires {
		body, feed := io.Pipe()
		r := s.Request(http.MethodPost, evaluation, "x")
		r.Body, r.ContentLength = body, 100
		got, err := s.Try(s.Client(speaks, s.Issue("spiffe://interlock.test/pep")), r)
		_ = feed.Close()
		require.NoError(t, err)
		require.Equal(t, 408, got.StatusCode, string(speaks))
	}
}

// SECURITY, line 33.
func TestOperatorsUseAnAddressOrAKnownName(t *testing.T) {
	s := newStation(t, "guard-policy.yaml")
	operators := httpapi.NewOperatorAPI(httpapi.OperatorOptions{Engine: s.Engine, Hosts: []string{"metrics.example"}})
	ask := func(host string) int {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/healthz", nil)
		r.Host = host
		operators.ServeHTTP(w, r)
		return w.Code
	}
	for _, good := range []string{"localhost", "localhost:8445", "127.0.0.1:8445", "[::1]:8445", "[::1]", "10.1.2.3", "metrics.example:8445"} {
		require.Equal(t, 200, ask(good), good)
	}
	for _, bad := range []string{"", "evil.example", "evil.example:8445", "localhost.evil.example", "metrics.example.evil"} {
		require.Equal(t, 421, ask(bad), bad)
	}
}
