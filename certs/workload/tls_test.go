package workload_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	source "github.com/interlock-authz/interlock/certs/workload"
)

// TestIdentity_AWorkloadAPIsDomainsCertifyTheirOwn: over TLS, between a server and clients that have nothing but SVIDs.
// SECURITY, line 3.
func TestIdentity_AWorkloadAPIsDomainsCertifyTheirOwn(t *testing.T) {
	home, partner, stranger := newDomain(t, "example.org"), newDomain(t, "partner.example"), newDomain(t, "stranger.example")
	m, err := serve(t, home.answer(partner)).follow(source.Options{}).Load()
	require.NoError(t, err)
	server := serverOf(t, m)
	for _, c := range []struct {
		name, id string
		by       *domain
		answer   string
		status   int
	}{
		{"own domain", "spiffe://example.org/alice", home, "spiffe://example.org/alice", http.StatusOK},
		{"federated domain", "spiffe://partner.example/bob", partner, "spiffe://partner.example/bob", http.StatusOK},
		{"a name of the federated one, by our CA", "spiffe://partner.example/bob", home, "not-bound", http.StatusUnauthorized},
		{"a name of ours, by the federated CA", "spiffe://example.org/alice", partner, "not-bound", http.StatusUnauthorized},
		{"a name of an unknown domain, by our CA", "spiffe://other.example/x", home, "not-bound", http.StatusUnauthorized},
	} {
		t.Run(c.name, func(t *testing.T) {
			response, err := clientOf(t, home, c.by.issue(c.id, good)).Get(server.URL)
			require.NoError(t, err)
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, response.StatusCode, "%s", text)
			require.Contains(t, string(text), c.answer)
		})
	}
	_, err = clientOf(t, home, stranger.issue("spiffe://stranger.example/eve", good)).Get(server.URL)
	require.ErrorContains(t, err, "tls: ")
}

// serverOf returns a server that answers with the identity of its caller.
func serverOf(t *testing.T, m certs.Material) *httptest.Server {
	config, err := certs.ServerConfig(certs.ServerOptions{Certificate: m.Certificate, ClientCAs: m.TrustAnchors.Pool()})
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := identify(t, m, r.TLS.VerifiedChains[0]...)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, who.Name)
	}))
	server.TLS = config
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// clientOf returns a client that identifies the server by its SPIFFE ID, as the clients of go-spiffe do.
func clientOf(t *testing.T, of *domain, svid *x509svid.SVID) *http.Client {
	transport := &http.Transport{TLSClientConfig: tlsconfig.MTLSClientConfig(svid, of.bundle(),
		tlsconfig.AuthorizeID(spiffeid.RequireFromString("spiffe://example.org/server")))}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
