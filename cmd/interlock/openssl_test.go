package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
)

// foreign is a server for clients that are not written in Go.
type foreign struct {
	*echo
	dir     string
	clients *minter
	revoked tls.Certificate
}

func newForeign(t *testing.T, program string, alter ...func(*config.Config)) *foreign {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed: nothing is tried with it", program)
	}
	f := &foreign{dir: t.TempDir(), clients: newRoot(t, "clients")}
	f.revoked = f.clients.leaf()
	c := config.Default()
	c.TLS.ClientCA = f.clients.write(t, f.file("clients.crt"))
	c.TLS.CRLs = []string{f.clients.writeList(t, f.file("clients.crl"), time.Now().Add(time.Hour),
		parseDER(t, f.revoked.Certificate[0]).SerialNumber)}
	for _, change := range alter {
		change(&c)
	}
	f.echo = newEcho(t, c)
	require.NoError(t, os.WriteFile(f.file("server-ca.crt"), must(os.ReadFile(filepath.Join(filepath.Dir(f.config), "own", "ca.crt"))), 0o600))
	return f
}

func (f *foreign) file(name string) string { return filepath.Join(f.dir, name) }

// write writes a client's chain and key, and returns the file names.
func (f *foreign) write(t *testing.T, chain tls.Certificate) (cert, key string) {
	t.Helper()
	cert, key = f.file("client.crt"), f.file("client.key")
	require.NoError(t, os.WriteFile(cert, chainPEM(chain), 0o600))
	der := must(x509.MarshalPKCS8PrivateKey(chain.PrivateKey))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return cert, key
}

// said runs a command with that input and returns its output.
func said(t *testing.T, input, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, program, args...)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	stdin, err := command.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	_, _ = io.WriteString(stdin, input) // the command may have exited
	_ = command.Wait()                  // the output says more than the status
	require.NoError(t, ctx.Err(), "%s does not end:\n%s", program, out.String())
	return out.String()
}

const plainRequest = "GET /orders/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

// openssl connects with openssl s_client and sends a request.
func (f *foreign) openssl(t *testing.T, input string, args ...string) string {
	t.Helper()
	return said(t, input, "openssl", append([]string{
		"s_client", "-connect", f.address, "-servername", "localhost", "-CAfile", f.file("server-ca.crt"), "-verify_return_error",
	}, args...)...)
}

// curl sends a request with the chain, nil for none, and returns the status and the body.
func (f *foreign) curl(t *testing.T, chain *tls.Certificate, args ...string) string {
	t.Helper()
	args = append([]string{"-sS", "--cacert", f.file("server-ca.crt"), "-w", " %{http_code} HTTP/%{http_version}"}, args...)
	if chain != nil {
		cert, key := f.write(t, *chain)
		args = append(args, "--cert", cert, "--key", key)
	}
	return said(t, "", "curl", append(args, "https://"+f.address+"/orders/1")...)
}

func TestOpenSSL(t *testing.T) {
	t.Parallel()
	f := newForeign(t, "openssl")
	for _, c := range []struct {
		name  string
		chain tls.Certificate
		wants []string
	}{
		{"accepted", f.clients.leaf(), []string{"200 OK", alice, "TLSv1.3"}},
		{"wrong CA", newRoot(t, "other").leaf(), []string{"alert unknown ca"}},
		{"expired", f.clients.leaf(valid(-2*time.Hour, -time.Hour)), []string{"alert certificate expired"}},
		{"a server's", f.clients.leaf(extKeyUsage(x509.ExtKeyUsageServerAuth)), []string{"alert bad certificate"}},
		{"revoked", f.revoked, []string{"401 Unauthorized", "credential-revoked"}},
		{"two SPIFFE IDs", f.clients.leaf(uri(alice, alice)), []string{"401 Unauthorized", "several-spiffe-ids"}},
		{"too large", f.clients.leaf(extension(false, 70_000)), []string{"alert bad certificate"}},
	} {
		cert, key := f.write(t, c.chain)
		got := f.openssl(t, plainRequest, "-cert", cert, "-key", key, "-ign_eof")
		for _, want := range c.wants {
			require.Contains(t, got, want, c.name)
		}
		if c.wants[0] != "200 OK" {
			require.NotContains(t, got, "200 OK", c.name)
		}
	}
	got := f.openssl(t, plainRequest, "-ign_eof")
	require.Contains(t, got, "401 Unauthorized")
	require.Contains(t, got, "no-certificate")
}

func TestOpenSSLOversizedChain(t *testing.T) {
	t.Parallel()
	f := newForeign(t, "openssl")
	cert, key := f.write(t, f.clients.leaf())
	var all tls.Certificate
	for range 10 {
		all.Certificate = append(all.Certificate, f.clients.leaf(extension(false, 30_000)).Certificate...)
	}
	require.NoError(t, os.WriteFile(f.file("chain.crt"), chainPEM(all), 0o600))
	got := f.openssl(t, plainRequest, "-cert", cert, "-key", key, "-cert_chain", f.file("chain.crt"), "-ign_eof")
	require.NotContains(t, got, "200 OK")
	require.Contains(t, f.log.String(), "exceeds maximum of 262144 bytes")
}

func TestOpenSSLResumesASession(t *testing.T) {
	t.Parallel()
	f := newForeign(t, "openssl")
	for _, c := range []struct {
		chain tls.Certificate
		want  string
	}{{f.clients.leaf(), alice}, {f.revoked, "credential-revoked"}, {f.clients.leaf(uri(alice, alice)), "several-spiffe-ids"}} {
		cert, key := f.write(t, c.chain)
		session := f.file("session")
		got := f.openssl(t, plainRequest, "-cert", cert, "-key", key, "-ign_eof", "-sess_out", session)
		require.Contains(t, got, c.want)
		require.NotContains(t, got, "Reused, TLSv1.3")
		got = f.openssl(t, plainRequest, "-ign_eof", "-sess_in", session)
		require.Contains(t, got, "Reused, TLSv1.3")
		require.Contains(t, got, c.want, "the session speaks for the certificate that it began with")
	}
}

func TestOpenSSLWithTLS12(t *testing.T) {
	t.Parallel()
	f := newForeign(t, "openssl")
	cert, key := f.write(t, f.clients.leaf())
	got := f.openssl(t, plainRequest, "-cert", cert, "-key", key, "-ign_eof", "-tls1_2")
	require.Contains(t, got, "alert protocol version")

	older := newForeign(t, "openssl", func(c *config.Config) { c.TLS.MinVersion = tls.VersionTLS12 })
	cert, key = older.write(t, older.clients.leaf())
	got = older.openssl(t, plainRequest, "-cert", cert, "-key", key, "-ign_eof", "-tls1_2")
	require.Contains(t, got, "200 OK")
	require.Contains(t, got, alice)
	got = older.openssl(t, plainRequest, "-cert", cert, "-key", key, "-ign_eof", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
	require.Contains(t, got, "alert protocol version")
}

// TestOpenSSLDoesNotRenegotiate asks for a second handshake on a TLS 1.2 connection. A
// client could change its identity with it.
func TestOpenSSLDoesNotRenegotiate(t *testing.T) {
	t.Parallel()
	f := newForeign(t, "openssl", func(c *config.Config) { c.TLS.MinVersion = tls.VersionTLS12 })
	cert, key := f.write(t, f.clients.leaf())
	got := f.openssl(t, "R\n"+plainRequest, "-cert", cert, "-key", key, "-tls1_2")
	require.Contains(t, got, "RENEGOTIATING")
	require.Contains(t, got, "alert")
	require.NotContains(t, got, "200 OK")
}

func TestCurl(t *testing.T) {
	t.Parallel()
	f := newForeign(t, "curl")
	good, foreign := f.clients.leaf(), newRoot(t, "other").leaf()
	expired, twins := f.clients.leaf(valid(-2*time.Hour, -time.Hour)), f.clients.leaf(uri(alice, alice))
	for version, args := range map[string][]string{"1.1": {"--http1.1"}, "2": {"--http2"}} {
		require.Equal(t, alice+" 200 HTTP/"+version, f.curl(t, &good, args...))
		for reason, chain := range map[string]*tls.Certificate{
			string(certs.ReasonNoCertificate): nil, "credential-revoked": &f.revoked, string(certs.ReasonSeveralSPIFFEIDs): &twins,
		} {
			got := f.curl(t, chain, args...)
			require.Contains(t, got, " 401 HTTP/"+version)
			require.Contains(t, got, reason)
		}
		for alert, chain := range map[string]*tls.Certificate{"unknown ca": &foreign, "certificate expired": &expired} {
			got := f.curl(t, chain, args...)
			require.Contains(t, got, " 000 ", alert)
			require.NotContains(t, got, alice)
		}
		require.Contains(t, f.curl(t, &good, append(args, "--tls-max", "1.2")...), " 000 ")
	}
}
