// Package servertest is a server on the loopback interface with mutual TLS, its trust anchor for
// clients and an engine, for the tests of the HTTP packages.
package servertest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/openapitest"
	"github.com/interlock-authz/interlock/httpapi/openapi"
)

// Server is a test server on the loopback interface with mutual TLS, a CA for its clients, and an
// engine.
type Server struct {
	T           testing.TB
	Dir         string // with the server's certificate and the CA
	Authority   *devca.CA
	Engine      *actors.Engine
	Connections *httpapi.Connections
	Log         *Log
	URL         string // once it serves

	described []*openapitest.API
}

// Log is a log that a test can read.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements [io.Writer].
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns the log so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Logger writes to the log at level debug.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// ReadPolicy reads a policy of testdata.
func ReadPolicy(t testing.TB, name string) *policyfile.File {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	file, err := policyfile.Parse(name, data)
	require.NoError(t, err)
	return file
}

// New starts an engine on a policy of testdata, without a server yet.
func New(t testing.TB, policyFile string) *Server {
	t.Helper()
	return NewOn(t, ReadPolicy(t, policyFile))
}

// NewOn is New on a policy.
func NewOn(t testing.TB, file *policyfile.File) *Server {
	t.Helper()
	memory, err := oplog.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	require.NoError(t, err)
	return NewWith(t, memory)
}

// NewWith is New on a log.
func NewWith(t testing.TB, log oplog.Log) *Server {
	t.Helper()
	s := &Server{T: t, Dir: t.TempDir(), Log: &Log{}, Connections: httpapi.NewConnections(nil)}
	var err error
	s.Engine, err = actors.New(actors.Options{Log: log, Connections: s.Connections, Logger: s.Log.Logger()})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, s.Engine.Close(ctx))
	})
	s.Authority = s.NewAuthority("ca")
	return s
}

// NewAuthority makes another CA, in a folder of that name.
func (s *Server) NewAuthority(name string) *devca.CA {
	s.T.Helper()
	authority, err := devca.Init(filepath.Join(s.Dir, name), devca.Options{})
	require.NoError(s.T, err)
	return authority
}

// Serve starts a server with the handler until the test ends.
func (s *Server) Serve(handler http.Handler, alter ...func(*httpapi.ServerOptions)) *Server {
	s.T.Helper()
	o := s.ServerOptions(handler)
	for _, f := range alter {
		f(&o)
	}
	return s.Start(httpapi.NewServer(o))
}

// ServerOptions are those of Serve.
func (s *Server) ServerOptions(handler http.Handler) httpapi.ServerOptions {
	s.T.Helper()
	pair, err := s.Authority.IssueServer(devca.ServerOptions{})
	require.NoError(s.T, err)
	require.NoError(s.T, pair.Write(s.Dir, "server", true))
	config, err := certs.ServerConfig(certs.ServerOptions{
		CertFile: filepath.Join(s.Dir, "server.crt"), KeyFile: filepath.Join(s.Dir, "server.key"), ClientCAs: s.Authority.Pool(),
	})
	require.NoError(s.T, err)
	return httpapi.ServerOptions{Handler: handler, TLS: config, Connections: s.Connections, Logger: s.Log.Logger()}
}

// Start starts a server until the test ends.
func (s *Server) Start(server *http.Server) *Server {
	s.T.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.T, err)
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	s.T.Cleanup(func() {
		require.NoError(s.T, server.Close())
		require.ErrorIs(s.T, <-ended, http.ErrServerClosed)
	})
	s.URL = "https://" + listener.Addr().String()
	return s
}

// Issue makes a client certificate of the CA of the server. It is a minute old, because the
// time that the engine publishes can be a second behind.
func (s *Server) Issue(spiffeID string) tls.Certificate {
	past := func() time.Time { return time.Now().Add(-time.Minute) }
	return s.IssueBy(s.Authority, devca.ClientOptions{SPIFFEID: spiffeID, Now: past})
}

// IssueBy makes a client certificate of another CA.
func (s *Server) IssueBy(authority *devca.CA, leaf devca.ClientOptions) tls.Certificate {
	s.T.Helper()
	pair, err := authority.IssueClient(leaf)
	require.NoError(s.T, err)
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	require.NoError(s.T, err)
	return cert
}

// Mint makes a client certificate that certs would not issue.
func (s *Server) Mint(alter func(*x509.Certificate)) tls.Certificate {
	s.T.Helper()
	ca, err := certs.LoadKeyPair(filepath.Join(s.Dir, "ca", devca.CertFile), filepath.Join(s.Dir, "ca", devca.KeyFile))
	require.NoError(s.T, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s.T, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	alter(template)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, key.Public(), ca.PrivateKey)
	require.NoError(s.T, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// WithURIs adds URIs to a certificate for [Server.Mint].
func WithURIs(texts ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, text := range texts {
			u, err := url.Parse(text)
			if err != nil {
				panic(err)
			}
			c.URIs = append(c.URIs, u)
		}
	}
}

// FingerprintOf returns the SHA-256 of the leaf in hexadecimal.
func FingerprintOf(cert tls.Certificate) string {
	sum := sha256.Sum256(cert.Certificate[0])
	return hex.EncodeToString(sum[:])
}

// Wire is a version of HTTP.
type Wire string

// The versions of HTTP.
const (
	HTTP1 Wire = "HTTP/1.1"
	HTTP2 Wire = "HTTP/2.0"
)

// Wires are all versions.
var Wires = []Wire{HTTP1, HTTP2}

// Client makes a client with the certificate chain, or with none. It keeps its connections.
func (s *Server) Client(speaks Wire, chain ...tls.Certificate) *http.Client {
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: s.Authority.Pool(),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(chain) == 0 {
				return &tls.Certificate{}, nil
			}
			return &chain[0], nil
		},
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(speaks == HTTP1)
	protocols.SetHTTP2(speaks == HTTP2)
	transport := &http.Transport{TLSClientConfig: config, Protocols: protocols, DisableCompression: true}
	s.T.Cleanup(transport.CloseIdleConnections)
	c := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	if len(s.described) > 0 {
		c.Transport = openapitest.NewTransport(s.T, transport, s.described...)
	}
	return c
}

// Describe has all later clients check what the server answers against the documents. The test
// fails at an answer that is not documented.
func (s *Server) Describe(documents ...openapi.Document) {
	s.T.Helper()
	for _, d := range documents {
		api, err := openapitest.Load(d)
		require.NoError(s.T, err)
		s.described = append(s.described, api)
	}
}

// TransportOf returns the transport of a client of [Server.Client].
func TransportOf(c *http.Client) *http.Transport {
	if checked, ok := c.Transport.(*openapitest.Transport); ok {
		return checked.Transport
	}
	return c.Transport.(*http.Transport)
}

// As is a client with a certificate for the name.
func (s *Server) As(name string) *http.Client {
	return s.Client(HTTP2, s.Issue("spiffe://interlock.test/"+name))
}

// Reply is an answer that was read to its end, without the newline there.
type Reply struct {
	*http.Response
	Text string
}

// Problem reads the body as a problem document.
func (r Reply) Problem(t testing.TB) map[string]any {
	t.Helper()
	require.Equal(t, "application/problem+json", r.Header.Get("Content-Type"), r.Text)
	var doc map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.Text), &doc))
	require.EqualValues(t, r.StatusCode, doc["status"])
	require.NotEmpty(t, doc["title"])
	return doc
}

// RequireProblem requires a problem of that status and type.
func (r Reply) RequireProblem(t testing.TB, status int, name string) map[string]any {
	t.Helper()
	require.Equal(t, status, r.StatusCode, r.Text)
	doc := r.Problem(t)
	require.Equal(t, client.ProblemType(name), doc["type"], r.Text)
	return doc
}

// Request makes a request to the server.
func (s *Server) Request(method, path, body string) *http.Request {
	s.T.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(context.Background(), method, s.URL+path, content)
	require.NoError(s.T, err)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// Send sends a request.
func (s *Server) Send(c *http.Client, r *http.Request) Reply {
	s.T.Helper()
	got, err := s.Try(c, r)
	require.NoError(s.T, err)
	return got
}

// Try sends a request that may fail.
func (s *Server) Try(c *http.Client, r *http.Request) (Reply, error) {
	answer, err := c.Do(r)
	if err != nil {
		return Reply{}, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	return Reply{Response: answer, Text: strings.TrimSuffix(string(text), "\n")}, err
}

// Post sends a body of JSON.
func (s *Server) Post(c *http.Client, path, body string) Reply {
	s.T.Helper()
	return s.Send(c, s.Request(http.MethodPost, path, body))
}

// ClientLeaf names a client of the test trust domain.
func ClientLeaf(name string) devca.ClientOptions {
	return devca.ClientOptions{SPIFFEID: "spiffe://interlock.test/" + name}
}

// RequestWith is a request as it arrives from a client with the certificate. It can be used in a
// fuzz target, where the methods of T cannot.
func (s *Server) RequestWith(cert tls.Certificate) *http.Request {
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		panic(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf, s.Authority.Certificate()}}}
	return r
}
