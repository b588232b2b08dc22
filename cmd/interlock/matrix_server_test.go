package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/httpapi"
)

// echoPolicy lets every principal read.
const echoPolicy = `
roles:
  reader:
    permissions:
      - actions: [orders:read]
        resources: ["**"]
grants:
  - {principals: "spiffe://a.example/**", role: reader}
  - {principals: "spiffe://b.example/**", role: reader}
  - {principals: "dns:**", role: reader}
  - {principals: "email:**", role: reader}
  - {principals: "uri:**", role: reader}
  - {principals: "cn:**", role: reader}
`

// echo is a server whose guarded handler answers with the caller's identity. Like interlock
// serve, it reads certificates, CAs, CRLs and rules from a configuration file.
type echo struct {
	config  string // the file
	address string
	roots   *x509.CertPool // the CA of the server's own certificate
	log     *sharedText
}

// sharedText is a log that can be read while it is written.
type sharedText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *sharedText) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *sharedText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *sharedText) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug})) // see each failed handshake
}

// newEcho starts a server with the CAs, CRLs and rules of c, and a new certificate.
func newEcho(t testing.TB, c config.Config, alter ...func(*tls.Config)) *echo {
	t.Helper()
	dir := t.TempDir()
	own, err := devca.Init(filepath.Join(dir, "own"), devca.Options{})
	require.NoError(t, err)
	pair, err := own.IssueServer(devca.ServerOptions{})
	require.NoError(t, err)
	require.NoError(t, pair.Write(dir, "server", false))
	c.TLS.Certificate, c.TLS.Key = filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	e := &echo{config: filepath.Join(dir, "interlock.yaml"), roots: own.Pool(), log: &sharedText{}}
	require.NoError(t, os.WriteFile(e.config, must(yaml.Marshal(c)), 0o600))
	e.serve(t, &c, alter)
	return e
}

func (e *echo) serve(t testing.TB, c *config.Config, alter []func(*tls.Config)) {
	t.Helper()
	authorities, err := certs.LoadTrustAnchors(c.TLS.TrustAnchors()...)
	require.NoError(t, err)
	lists, err := certs.LoadCRLs(authorities, nil, c.TLS.CRLs...)
	require.NoError(t, err)
	if c.TLS.StaleCRLs != config.AcceptStale {
		lists, _ = lists.At(time.Now())
	}
	identifier, err := certs.NewIdentifier(c.Identity...)
	require.NoError(t, err)
	mutual, err := certs.ServerConfig(certs.ServerOptions{
		CertFile: c.TLS.Certificate, KeyFile: c.TLS.Key, ClientCAs: authorities.Pool(), MinVersion: uint16(c.TLS.MinVersion),
	})
	require.NoError(t, err)
	for _, f := range alter {
		f(mutual)
	}
	connections, log := httpapi.NewConnections(identifier.Under(authorities)), e.log.logger()
	engine := newEchoEngine(t, lists)
	router := httpapi.NewRouter(log)
	router.Handle("/orders/{id}", httpapi.NewGuard(engine, connections, log).Protect(
		httpapi.Rule{Action: "orders:read", Resource: "orders/{id}"}, http.HandlerFunc(sayWho)))
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	e.address = socket.Addr().String()
	server := httpapi.NewServer(httpapi.ServerOptions{Handler: router, TLS: mutual, Connections: connections, Logger: log})
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(socket, "", "") }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-ended, http.ErrServerClosed)
	})
}

func newEchoEngine(t testing.TB, lists actors.RevocationLists) *actors.Engine {
	t.Helper()
	file, err := policyfile.Parse("echo.yaml", []byte(echoPolicy))
	require.NoError(t, err)
	memory, err := oplog.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	require.NoError(t, err)
	engine, err := actors.New(actors.Options{Log: memory, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Close(context.Background())) })
	_, err = engine.UseRevocationLists(context.Background(), lists)
	require.NoError(t, err)
	return engine
}

func sayWho(w http.ResponseWriter, r *http.Request) {
	caller, _ := httpapi.CallerOf(r.Context())
	fmt.Fprint(w, caller.Principal)
}

// The protocols, by their ALPN names.
const (
	http1 = "http/1.1"
	http2 = "h2"
)

var protocols = []string{http1, http2}

// sessions is a client's session cache that reports new sessions.
type sessions struct {
	tls.ClientSessionCache
	came chan struct{}
}

func newSessions() *sessions {
	return &sessions{tls.NewLRUClientSessionCache(1), make(chan struct{}, 16)}
}

func (s *sessions) Put(key string, state *tls.ClientSessionState) {
	s.ClientSessionCache.Put(key, state)
	select {
	case s.came <- struct{}{}:
	default: // the channel is full
	}
}

// client returns the configuration of a client with that chain, empty for none. The client
// sends the chain even if the server's request does not match it.
func (e *echo) client(chain tls.Certificate, protocol string, cache *sessions) *tls.Config {
	return &tls.Config{
		RootCAs: e.roots, ServerName: "localhost", NextProtos: []string{protocol}, ClientSessionCache: cache,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &chain, nil },
	}
}

// handshake is the result of a handshake: the client's error and the server's log.
type handshake struct {
	refused     bool
	alert, said string
}

// shake opens a connection and waits until the server has accepted or rejected the
// certificate. In TLS 1.3 the client learns this only after its own part of the handshake.
func (e *echo) shake(t testing.TB, config *tls.Config) handshake {
	t.Helper()
	before := len(e.log.String()) // another connection may have had the same port
	socket, err := net.DialTimeout("tcp", e.address, patience)
	require.NoError(t, err)
	defer socket.Close()
	conn := tls.Client(socket, config)
	failed := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, conn) // completes the handshake first
		failed <- err
	}()
	select {
	case <-config.ClientSessionCache.(*sessions).came:
		return handshake{}
	case err := <-failed:
		require.Error(t, err, "the server has ended the connection without a word")
		return handshake{true, alertOf(t, err), e.failure(t, before, socket.LocalAddr())}
	case <-time.After(patience):
		require.Fail(t, "the server neither takes nor refuses the certificate")
		return handshake{}
	}
}

// alertOf returns the alert that the server sent, empty if it was lost with the connection.
func alertOf(t testing.TB, err error) string {
	t.Helper()
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return ""
	}
	_, alert, found := strings.Cut(err.Error(), "remote error: tls: ")
	require.True(t, found, err)
	return alert
}

// failure returns the server's log message, after the first bytes, about the connection from that address.
func (e *echo) failure(t testing.TB, before int, from net.Addr) string {
	t.Helper()
	said := ""
	require.Eventually(t, func() bool {
		for line := range strings.Lines(e.log.String()[before:]) {
			if !strings.Contains(line, from.String()) {
				continue
			}
			var record struct {
				Detail string `json:"detail"`
			}
			if json.Unmarshal([]byte(line), &record) != nil {
				continue
			}
			if _, text, found := strings.Cut(record.Detail, "handshake error from "+from.String()+": "); found {
				said = text
				return true
			}
		}
		return false
	}, patience, time.Millisecond)
	return said
}

// response is the answer to a request.
type response struct {
	*http.Response
	body string
}

// verdict returns the identity in the answer, or the status and the reason in one word.
func (r response) verdict(t testing.TB) string {
	t.Helper()
	if r.StatusCode == http.StatusOK {
		return r.body
	}
	var problem struct {
		Detail string `json:"detail"`
	}
	require.NoError(t, json.Unmarshal([]byte(r.body), &problem), r.body)
	reason, _, found := strings.Cut(problem.Detail, ": ")
	require.True(t, found, r.body)
	return fmt.Sprintf("%d %s", r.StatusCode, reason)
}

// get sends one request on a new connection.
func (e *echo) get(config *tls.Config, header http.Header) (response, error) {
	transport := &http.Transport{TLSClientConfig: config, Protocols: &http.Protocols{}}
	defer transport.CloseIdleConnections()
	transport.Protocols.SetHTTP1(config.NextProtos[0] == http1)
	transport.Protocols.SetHTTP2(config.NextProtos[0] == http2)
	request, err := http.NewRequest(http.MethodGet, "https://"+e.address+"/orders/1", nil)
	if err != nil {
		return response{}, err
	}
	request.Header = header.Clone()
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(request)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return response{resp, string(body)}, err
}
