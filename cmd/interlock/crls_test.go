package main

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
)

// operators sends a request to the listener for operators.
func (s *running) operators(t testing.TB, path string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(s.operated + path)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// TestCRLs_ABrokenFileKeepsTheOldAndSaysSo breaks each of the files.
//
// SECURITY, line 8.
func TestCRLs_ABrokenFileKeepsTheOldAndSaysSo(t *testing.T) {
	for _, file := range []string{"server.crt", "server.key", "clients.crt", "clients.crl"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			s := newRunning(t)
			kept, revoked := s.clients.leaf(), s.clients.leaf()
			s.exchange(t, func() {
				s.clients.writeList(t, s.file("clients.crl"), time.Now().Add(time.Hour), parseDER(t, revoked.Certificate[0]).SerialNumber)
			}, s.answers(revoked, http.StatusUnauthorized))
			good := must(os.ReadFile(s.file(file)))
			for _, broken := range [][]byte{{}, good[:len(good)/2], []byte("no PEM at all")} {
				s.exchange(t, func() { require.NoError(t, replaceFile(s.file(file), broken)) }, func() bool {
					status, _ := s.operators(t, "/healthz")
					return status == http.StatusServiceUnavailable
				})
				_, said := s.operators(t, "/healthz")
				require.Contains(t, said, file, "the answer names the file")
				require.Contains(t, said, "CRLs are unchanged")
				s.eventually(t, func() bool { return strings.Contains(s.log.String(), "CRLs are unchanged") })
				_, metrics := s.operators(t, "/metrics")
				require.Contains(t, metrics, "interlock_trust_reload_failed 1\n")
				require.True(t, s.answers(kept, http.StatusOK)())
				require.True(t, s.answers(revoked, http.StatusUnauthorized)())
				s.exchange(t, func() { require.NoError(t, replaceFile(s.file(file), good)) }, func() bool {
					status, _ := s.operators(t, "/healthz")
					return status == http.StatusOK
				})
			}
		})
	}
}

// TestCRLs_ARevocationCannotBeUndone tries to undo a revocation: with an older CRL, without the
// CRL, and with a CRL of another CA with the same name.
//
// SECURITY, line 8.
func TestCRLs_ARevocationCannotBeUndone(t *testing.T) {
	t.Parallel()
	s := newRunning(t)
	revoked := s.clients.leaf()
	number := parseDER(t, revoked.Certificate[0]).SerialNumber
	s.exchange(t, func() { s.writeNumbered(t, 7, number) }, s.answers(revoked, http.StatusUnauthorized))
	for _, back := range []func(){
		func() { s.writeNumbered(t, 6) },
		func() { require.NoError(t, os.Remove(s.file("clients.crl"))) },
		func() { s.writeBy(t, newRoot(t, "clients"), 8) }, // another CA of the same name
	} {
		s.exchange(t, back, func() bool {
			status, _ := s.operators(t, "/healthz")
			return status == http.StatusServiceUnavailable
		})
		require.True(t, s.answers(revoked, http.StatusUnauthorized)())
		s.exchange(t, func() { s.writeNumbered(t, 7, number) }, func() bool {
			status, _ := s.operators(t, "/healthz")
			return status == http.StatusOK
		})
	}
	s.exchange(t, func() { s.writeNumbered(t, 8) }, s.answers(revoked, http.StatusOK)) // the CA itself may undo it
}

// TestCRLs_AStaleCRLRefusesAll tries each setting with a CRL that becomes stale while the
// server runs.
//
// SECURITY, line 8.
func TestCRLs_AStaleCRLRefusesAll(t *testing.T) {
	t.Parallel()
	for accept, status := range map[string]int{"": http.StatusUnauthorized, config.RefuseStale: http.StatusUnauthorized, config.AcceptStale: http.StatusOK} {
		t.Run(accept, func(t *testing.T) {
			t.Parallel()
			s := newRunning(t, func(c *config.Config) { c.TLS.StaleCRLs = accept })
			leaf := s.clients.leaf()
			require.True(t, s.answers(leaf, http.StatusOK)())
			s.exchange(t, func() { s.clients.writeList(t, s.file("clients.crl"), time.Now().Add(time.Second)) }, func() bool {
				_, said := s.operators(t, "/metrics")
				return strings.Contains(said, "interlock_crls_stale 1\n")
			})
			s.eventually(t, s.answers(leaf, status))
			_, said := s.operators(t, "/healthz")
			require.Contains(t, said, "is stale")
			s.exchange(t, func() { s.clients.writeList(t, s.file("clients.crl"), time.Now().Add(time.Hour)) }, s.answers(leaf, http.StatusOK))
		})
	}
}

func (s *running) writeNumbered(t testing.TB, number int64, serials ...*big.Int) {
	t.Helper()
	s.writeBy(t, s.clients, number, serials...)
}

func (s *running) writeBy(t testing.TB, m *minter, number int64, serials ...*big.Int) {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, n := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: template.ThisUpdate})
	}
	der := must(x509.CreateRevocationList(rand.Reader, template, m.cert, m.key))
	require.NoError(t, replaceFile(s.file("clients.crl"), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})))
}
