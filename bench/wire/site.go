package wire

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
)

// serverName is the name in the servers' certificate.
const serverName = "localhost"

// policyFile is in the site's folder, with the CA and the servers' key pair.
const policyFile = "policy.yaml"

// site is a folder with the files of a server, and the certificates of its callers.
type site struct {
	dir       string
	authority *devca.CA
	callers   []tls.Certificate
	ingress   tls.Certificate // of the proxy
	upstream  *http.Server    // the server behind the proxies
}

// upstreamFile has the address of the upstream.
const upstreamFile = "upstream"

// startUpstream serves plain HTTP in this process.
func (s *site) startUpstream() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.upstream = &http.Server{Handler: answerOK, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.upstream.Serve(listener) }() // until it is closed
	return os.WriteFile(filepath.Join(s.dir, upstreamFile), []byte(listener.Addr().String()), 0o600)
}

// ingress is the proxy in front of the server.
const ingress = "spiffe://bench.test/ingress"

// forwardedHeader carries the client certificate (RFC 9440).
func forwardedHeader(client tls.Certificate) string {
	return "Client-Cert: :" + base64.StdEncoding.EncodeToString(client.Certificate[0]) + ":"
}

// principal returns the caller of the n-th connection.
func principal(n int) string { return fmt.Sprintf("spiffe://bench.test/caller/%d", n) }

// newSite makes a site with a number of callers, each of which may read orders. The caller
// closes it.
func newSite(callers int) (_ *site, err error) {
	dir, err := os.MkdirTemp("", "interlock-wire-")
	if err != nil {
		return nil, err
	}
	s := &site{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.authority, err = devca.Init(dir, devca.Options{}); err != nil {
		return nil, err
	}
	pair, err := s.authority.IssueServer(devca.ServerOptions{})
	if err != nil {
		return nil, err
	}
	if err := pair.Write(dir, "server", false); err != nil {
		return nil, err
	}
	if err := s.writeList(); err != nil {
		return nil, err
	}
	if err := s.startUpstream(); err != nil {
		return nil, err
	}
	if s.ingress, err = s.issue(ingress); err != nil {
		return nil, err
	}
	for n := range callers {
		caller, err := s.issue(principal(n))
		if err != nil {
			return nil, err
		}
		s.callers = append(s.callers, caller)
	}
	return s, os.WriteFile(filepath.Join(dir, policyFile), policyText(callers), 0o600)
}

// listFile is the CA's CRL, next to its certificate.
const listFile = "ca.crl"

// listed is the number of certificates on the CRL.
const listed = 1000

func (s *site) writeList() error {
	serials := make([]*big.Int, listed)
	for i := range serials {
		serials[i] = big.NewInt(int64(i))
	}
	text, err := s.authority.SignCRL(big.NewInt(1), serials, time.Now().Add(-time.Minute), time.Now().Add(24*time.Hour))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, listFile), text, 0o600)
}

func (s *site) close() error {
	var err error
	if s.upstream != nil {
		err = s.upstream.Close()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

func (s *site) issue(who string) (tls.Certificate, error) {
	pair, err := s.authority.IssueClient(devca.ClientOptions{SPIFFEID: who})
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
}

// client is the configuration of a client that presents the certificates, if any.
func (s *site) client(present ...tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: serverName, RootCAs: s.authority.Pool(), Certificates: present,
	}
}

// serverConfig is the configuration of the servers of the site in the folder.
func serverConfig(dir string) (*tls.Config, error) {
	pool, err := certs.LoadPool(filepath.Join(dir, devca.CertFile))
	if err != nil {
		return nil, err
	}
	return certs.ServerConfig(certs.ServerOptions{
		CertFile: filepath.Join(dir, "server.crt"), KeyFile: filepath.Join(dir, "server.key"), ClientCAs: pool,
	})
}

func policyText(callers int) []byte {
	var b strings.Builder
	b.WriteString("roles:\n  clerk:\n    permissions:\n      - actions: [orders:read, orders:write]\n        resources: [orders/**]\ngrants:\n")
	for n := range callers {
		fmt.Fprintf(&b, "  - principal: %s\n    role: clerk\n", principal(n))
	}
	return []byte(b.String())
}
