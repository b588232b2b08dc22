package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/clitest"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/serve"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// interlock runs the command and requires exit status 0.
func interlock(t testing.TB, args ...string) {
	t.Helper()
	var out, errs bytes.Buffer
	require.Zero(t, cli.Run(rootCommand(), args, &out, &errs), errs.String())
}

// newIssued returns a folder with a CA, a server certificate and client certificates.
func newIssued(t testing.TB, clients ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "CA")
	interlock(t, "ca", "init", "--dir", dir)
	interlock(t, "ca", "issue", "server", "server", "--dir", dir)
	for _, name := range clients {
		interlock(t, "ca", "issue", "client", name, "--dir", dir)
	}
	return dir
}

func readCertificate(t testing.TB, path string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	parsed, err := certs.ParseCertificates(path, text)
	require.NoError(t, err)
	return parsed[0]
}

// SECURITY, line 20.
func TestFiles_OnlyTheOwnerReadsKeysAndNoTemporaryFileIsLeft(t *testing.T) {
	t.Parallel()
	dir := newIssued(t, "alice")
	for range 2 {
		names := []string{}
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, entry := range entries {
			info, err := entry.Info()
			require.NoError(t, err)
			require.True(t, info.Mode().IsRegular())
			if strings.HasSuffix(entry.Name(), ".key") {
				require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), entry.Name())
			}
			names = append(names, entry.Name())
		}
		require.Equal(t, []string{"alice.crt", "alice.key", "ca.crt", "ca.key", "server.crt", "server.key"}, names)
		interlock(t, "ca", "issue", "client", "alice", "--dir", dir, "--force")
	}
}

// SECURITY, line 20.
func TestFiles_IssuedCertificates(t *testing.T) {
	t.Parallel()
	dir := newIssued(t)
	authority := readCertificate(t, filepath.Join(dir, "ca.crt"))
	require.NotEmpty(t, authority.SubjectKeyId)
	seen, bits := map[string]bool{}, 0
	for range 24 {
		interlock(t, "ca", "issue", "client", "alice", "--dir", dir, "--force", "--lifetime", "720h")
		leaf := readCertificate(t, filepath.Join(dir, "alice.crt"))
		require.NotEmpty(t, leaf.SubjectKeyId)
		require.Equal(t, authority.SubjectKeyId, leaf.AuthorityKeyId)
		require.LessOrEqual(t, leaf.NotAfter.Sub(leaf.NotBefore), 30*24*time.Hour)
		seen[leaf.SerialNumber.String()] = true
		bits = max(bits, leaf.SerialNumber.BitLen())
	}
	require.Len(t, seen, 24, "serial numbers are unique")
	require.LessOrEqual(t, bits, 128)
	require.Greater(t, bits, 120, "serial numbers are random and have 128 bits")
	var out, errs bytes.Buffer
	require.Equal(t, cli.Error, cli.Run(rootCommand(), []string{"ca", "issue", "client", "late", "--dir", dir, "--lifetime", "721h"}, &out, &errs))
	require.NoFileExists(t, filepath.Join(dir, "late.crt"))
	require.NoFileExists(t, filepath.Join(dir, "late.key"))
}

// SECURITY, line 20.
func TestFiles_AServerDoesNotStartWithAnUnsafeKey(t *testing.T) {
	t.Parallel()
	for what, spoil := range map[string]func(path string) error{
		"wider than 0600": func(path string) error { return os.Chmod(path, 0o640) },
		"is a link": func(path string) error {
			if err := os.Rename(path, path+".aside"); err != nil {
				return err
			}
			return os.Symlink(path+".aside", path)
		},
	} {
		dir := newIssued(t)
		key := filepath.Join(dir, "server.key")
		require.NoError(t, spoil(key))
		c, inMemory := config.Default(), ""
		c.Listen, c.AdminListen, c.OperatorListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
		c.Data, c.BootstrapAdmin = &inMemory, alice
		c.TLS = config.TLS{Certificate: filepath.Join(dir, "server.crt"), Key: key, ClientCA: filepath.Join(dir, "ca.crt")}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // in case it starts
		err := serve.Run(ctx, &c, false, (&sharedText{}).logger())
		cancel()
		require.ErrorIs(t, err, certs.ErrPermissions)
		require.ErrorContains(t, err, what)
	}
}

// TestFiles_ARunningServerRejectsAnUnsafeKey replaces the key by one that other users can read.
// SECURITY, line 20.
func TestFiles_ARunningServerRejectsAnUnsafeKey(t *testing.T) {
	t.Parallel()
	s := newRunning(t)
	client := s.client(s.clients.leaf())
	before := s.requireVisit(t, client, http.StatusOK, false).state.PeerCertificates[0]
	next, err := s.authority.IssueServer(devca.ServerOptions{})
	require.NoError(t, err)
	require.NoError(t, os.Chmod(s.file("server.key"), 0o644))
	require.NoError(t, os.WriteFile(s.file("server.key"), next.KeyPEM, 0o644))
	require.NoError(t, os.WriteFile(s.file("server.crt"), next.CertPEM, 0o644))
	s.eventually(t, func() bool { return strings.Contains(s.log.String(), "wider than 0600") })
	after := s.requireVisit(t, client, http.StatusOK, true).state.PeerCertificates[0]
	require.True(t, before.Equal(after), "the old certificate stays in use")

	s.exchangeServer(t)
	again := s.requireVisit(t, client, http.StatusOK, false).state.PeerCertificates[0]
	require.False(t, before.Equal(again))
}

// TestFiles_AKilledIssueLeavesNoPartialFile kills the command at random times after it has begun to write. Each file with
// its final name must be complete, and the key must exist before its certificate.
// SECURITY, line 20.
func TestFiles_AKilledIssueLeavesNoPartialFile(t *testing.T) {
	t.Parallel()
	dir := newIssued(t)
	before := len(must(os.ReadDir(dir)))
	kills := 8
	if os.Getenv("INTERLOCK_SOAK") != "" {
		kills = 200
	}
	killed, states := 0, map[int]int{}
	for range kills {
		issue := exec.Command("interlock", "ca", "issue", "client", "bob", "--dir", dir)
		key, value := clitest.QuickRace()
		issue.Env = append(os.Environ(), key+"="+value)
		require.NoError(t, issue.Start())
		for end := time.Now().Add(patience); len(must(os.ReadDir(dir))) == before; {
			require.True(t, time.Now().Before(end), "the command writes nothing")
		}
		<-time.After(rand.N(2 * time.Millisecond))
		require.NoError(t, issue.Process.Kill())
		if issue.Wait() != nil {
			killed++
		}
		states[requireComplete(t, dir, "bob")]++
	}
	require.NotZero(t, killed)
	t.Logf("%d of %d were killed before their end; runs by number of files: %v", killed, kills, states)
}

// requireComplete requires a key and its certificate, or a key alone, or no file. It removes them and the temporary files,
// and returns the number of files.
func requireComplete(t testing.TB, dir, name string) int {
	t.Helper()
	defer func() {
		for _, entry := range must(os.ReadDir(dir)) {
			if strings.HasPrefix(strings.TrimPrefix(entry.Name(), "."), name+".") {
				require.NoError(t, os.Remove(filepath.Join(dir, entry.Name())))
			}
		}
	}()
	cert, key := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	text, err := os.ReadFile(key)
	if os.IsNotExist(err) {
		require.NoFileExists(t, cert, "the key exists before its certificate")
		return 0
	}
	require.NoError(t, err)
	_, err = certs.ParseKey(key, text)
	require.NoError(t, err, "a key is complete")
	if _, err := os.Stat(cert); os.IsNotExist(err) {
		return 1
	}
	_, err = certs.LoadKeyPair(cert, key)
	require.NoError(t, err, "a pair is complete")
	return 2
}
