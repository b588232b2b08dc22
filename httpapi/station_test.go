package httpapi_test

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
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
)

// station is a server on the loopback with mutual TLS, an authority for its clients, and
// an engine behind it.
type station struct {
	t           testing.TB
	dir         string
	authority   *devca.CA
	engine      *actors.Engine
	connections *httpapi.Connections
	log         *stationLog
	url         string
}

// stationLog is a log that can be looked at.
type stationLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *stationLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *stationLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *stationLog) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// readPolicy reads a policy of testdata.
func readPolicy(t testing.TB, name string) *policy.File {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	file, err := policy.ParseFile(name, data)
	require.NoError(t, err)
	return file
}

// newStation starts an engine on a policy of testdata, without a server yet.
func newStation(t testing.TB, policyFile string) *station {
	t.Helper()
	return newStationOn(t, readPolicy(t, policyFile))
}

func newStationOn(t testing.TB, file *policy.File) *station {
	t.Helper()
	memory, err := actors.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	require.NoError(t, err)
	return newStationWith(t, memory)
}

func newStationWith(t testing.TB, log actors.Log) *station {
	t.Helper()
	s := &station{t: t, dir: t.TempDir(), log: &stationLog{}, connections: httpapi.NewConnections(nil)}
	var err error
	s.engine, err = actors.New(actors.Options{Log: log, Connections: s.connections, Logger: s.log.logger()})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, s.engine.Close(ctx))
	})
	s.authority = s.newAuthority("ca")
	return s
}

func (s *station) newAuthority(name string) *devca.CA {
	s.t.Helper()
	authority, err := devca.Init(filepath.Join(s.dir, name), devca.Options{})
	require.NoError(s.t, err)
	return authority
}

// decisions is a handler of the decision API.
func (s *station) decisions(alter ...func(*httpapi.DecisionOptions)) *httpapi.DecisionAPI {
	s.t.Helper()
	o := httpapi.DecisionOptions{
		Engine: s.engine, Connections: s.connections, BaseURL: "https://pdp.example.org/", Logger: s.log.logger(),
	}
	for _, f := range alter {
		f(&o)
	}
	api, err := httpapi.NewDecisionAPI(o)
	require.NoError(s.t, err)
	return api
}

// serve starts a server with the handler.
func (s *station) serve(handler http.Handler, alter ...func(*httpapi.ServerOptions)) *station {
	s.t.Helper()
	o := s.serverOptions(handler)
	for _, f := range alter {
		f(&o)
	}
	return s.start(httpapi.NewServer(o))
}

func (s *station) serverOptions(handler http.Handler) httpapi.ServerOptions {
	s.t.Helper()
	pair, err := s.authority.IssueServer(devca.ServerOptions{})
	require.NoError(s.t, err)
	require.NoError(s.t, pair.Write(s.dir, "server", true))
	config, err := certs.ServerConfig(certs.ServerOptions{
		CertFile: filepath.Join(s.dir, "server.crt"), KeyFile: filepath.Join(s.dir, "server.key"), ClientCAs: s.authority.Pool(),
	})
	require.NoError(s.t, err)
	return httpapi.ServerOptions{Handler: handler, TLS: config, Connections: s.connections, Logger: s.log.logger()}
}

func (s *station) start(server *http.Server) *station {
	s.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	s.t.Cleanup(func() {
		require.NoError(s.t, server.Close())
		require.ErrorIs(s.t, <-ended, http.ErrServerClosed)
	})
	s.url = "https://" + listener.Addr().String()
	return s
}

// issue makes a client's certificate of the station's authority. It is a minute old, for
// the engine's published time may be behind by a second.
func (s *station) issue(spiffeID string) tls.Certificate {
	past := func() time.Time { return time.Now().Add(-time.Minute) }
	return s.issueBy(s.authority, devca.ClientOptions{SPIFFEID: spiffeID, Now: past})
}

func (s *station) issueBy(authority *devca.CA, leaf devca.ClientOptions) tls.Certificate {
	s.t.Helper()
	pair, err := authority.IssueClient(leaf)
	require.NoError(s.t, err)
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	require.NoError(s.t, err)
	return cert
}

// mint makes a client's certificate that certs would not issue.
func (s *station) mint(alter func(*x509.Certificate)) tls.Certificate {
	s.t.Helper()
	ca, err := certs.LoadKeyPair(filepath.Join(s.dir, "ca", devca.CertFile), filepath.Join(s.dir, "ca", devca.KeyFile))
	require.NoError(s.t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	alter(template)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, key.Public(), ca.PrivateKey)
	require.NoError(s.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func withURIs(texts ...string) func(*x509.Certificate) {
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

func fingerprintOf(cert tls.Certificate) string {
	sum := sha256.Sum256(cert.Certificate[0])
	return hex.EncodeToString(sum[:])
}

// wire is a version of HTTP.
type wire string

const (
	http1 wire = "HTTP/1.1"
	http2 wire = "HTTP/2.0"
)

var wires = []wire{http1, http2}

// client speaks to the station with the certificates, perhaps none, and keeps its
// connections.
func (s *station) client(speaks wire, chain ...tls.Certificate) *http.Client {
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: s.authority.Pool(),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(chain) == 0 {
				return &tls.Certificate{}, nil
			}
			return &chain[0], nil
		},
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(speaks == http1)
	protocols.SetHTTP2(speaks == http2)
	transport := &http.Transport{TLSClientConfig: config, Protocols: protocols, DisableCompression: true}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// as is a client with a certificate for the name.
func (s *station) as(name string) *http.Client {
	return s.client(http2, s.issue("spiffe://interlock.test/"+name))
}

// reply is an answer that was read to its end, without the newline there.
type reply struct {
	*http.Response
	body string
}

// problem reads the body as a problem document.
func (r reply) problem(t testing.TB) map[string]any {
	t.Helper()
	require.Equal(t, "application/problem+json", r.Header.Get("Content-Type"), r.body)
	var doc map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.body), &doc))
	require.EqualValues(t, r.StatusCode, doc["status"])
	require.NotEmpty(t, doc["title"])
	return doc
}

func (s *station) request(method, path, body string) *http.Request {
	s.t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(context.Background(), method, s.url+path, content)
	require.NoError(s.t, err)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

func (s *station) send(c *http.Client, r *http.Request) reply {
	s.t.Helper()
	got, err := s.try(c, r)
	require.NoError(s.t, err)
	return got
}

func (s *station) try(c *http.Client, r *http.Request) (reply, error) {
	answer, err := c.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	return reply{Response: answer, body: strings.TrimSuffix(string(text), "\n")}, err
}

func (s *station) post(c *http.Client, path, body string) reply {
	s.t.Helper()
	return s.send(c, s.request(http.MethodPost, path, body))
}

func clientLeaf(name string) devca.ClientOptions {
	return devca.ClientOptions{SPIFFEID: "spiffe://interlock.test/" + name}
}
