package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

const shortTTL = 2 * time.Second

// leaseServer is a server in a process of its own, for remote leases of other processes.
type leaseServer struct {
	*killed
	log chan string // what the server logs about remote leases
}

func newLeaseServer(t *testing.T, maxTTL time.Duration) *leaseServer {
	s := &leaseServer{log: make(chan string, 100)}
	s.killed = &killed{t: t, dir: t.TempDir(), config: fmt.Sprintf("leases: {max-ttl: %s}\n", maxTTL)}
	s.logged = func(line string) {
		if strings.Contains(line, "remote leases") {
			s.log <- line
		}
	}
	s.start()
	return s
}

// rotating is a client certificate that can be replaced.
type rotating struct {
	atomic.Pointer[tls.Certificate]
}

func (s *leaseServer) devFile(name string) string { return filepath.Join(s.dir, cli.DevFolder, name) }

// issue makes a certificate of the name.
func (s *leaseServer) issue(name string) *tls.Certificate {
	authority, err := devca.Load(filepath.Join(s.dir, cli.DevFolder))
	require.NoError(s.t, err)
	pair, err := authority.IssueClient(devca.ClientOptions{SPIFFEID: cli.DevTrustDomain + name})
	require.NoError(s.t, err)
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	require.NoError(s.t, err)
	return &cert
}

// as is a client of remote leases.
func (s *leaseServer) as(name string, ttl time.Duration) (*client.Client, *rotating) {
	config, err := certs.ClientConfig(certs.ClientOptions{CAFile: s.devFile("ca.crt")})
	require.NoError(s.t, err)
	r := &rotating{}
	r.Store(s.issue(name))
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return r.Load(), nil }
	c, err := client.New(client.Options{BaseURL: s.callers, LeaseTTL: ttl, HTTPClient: &http.Client{
		Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, // a new certificate is used at once
	}})
	require.NoError(s.t, err)
	s.t.Cleanup(c.Close)
	return c, r
}

var (
	writeOrder = client.Evaluation{
		Action: client.Action{Name: "orders:write"}, Resource: client.Entity{Type: "orders", ID: "42", Properties: map[string]any{"amount": 12}},
	}
	revokeAlice = policy.ChangeSpec{Op: policy.OpRevoke, Principal: cli.DevTrustDomain + "alice", Role: policy.RoleRef{Name: "order-writer"}}
)

// update changes the policy and returns the receipt at the time.
func (s *leaseServer) update(changes ...policy.ChangeSpec) *client.Receipt {
	s.t.Helper()
	result, err := s.client().Update(context.Background(), changes, client.UpdateOptions{Wait: new(time.Duration(0))})
	require.NoError(s.t, err)
	return result.Receipt
}

// quiesced waits until the revision is quiesced.
func (s *leaseServer) quiesced(revision uint64) *client.Receipt {
	s.t.Helper()
	r, err := s.client().Receipt(context.Background(), revision, patience)
	require.NoError(s.t, err)
	require.True(s.t, r.Quiesced)
	require.False(s.t, r.Settling)
	return r
}

// isQuiesced asks for the receipt at the time.
func (s *leaseServer) isQuiesced(revision uint64) bool {
	s.t.Helper()
	r, err := s.client().Receipt(context.Background(), revision, 0)
	require.NoError(s.t, err)
	return r.Quiesced
}

// lost waits until the lease is lost, and requires the cause.
func lost(t *testing.T, l *client.Lease, cause error) {
	t.Helper()
	select {
	case <-l.Context().Done():
		require.Equal(t, cause, context.Cause(l.Context()))
	case <-time.After(patience):
		t.Fatal("the lease is not lost")
	}
}

// TestG2G5_KillMinus9WhileALeaseIsOut kills a server and starts it again. It does not know the
// lease, so no receipt may be quiesced before the lease has expired, also none of an old revision.
func TestG2G5_KillMinus9WhileALeaseIsOut(t *testing.T) {
	const settles = 3 * time.Second // so that a busy machine can ask before that
	t.Parallel()
	s := newLeaseServer(t, settles)
	old := s.update(policy.ChangeSpec{Op: policy.OpGrant, Principal: "user:x", Role: policy.RoleRef{Name: "order-reader"}})
	require.True(t, old.Quiesced)
	c, _ := s.as("alice", shortTTL)
	l, err := c.Acquire(t.Context(), writeOrder)
	require.NoError(t, err)
	ended := make(chan time.Time, 1)
	context.AfterFunc(l.Context(), func() { ended <- time.Now() })
	require.NoError(t, s.server.Process.Kill())
	_ = s.server.Wait() // it was killed
	s.http.CloseIdleConnections()
	started := time.Now()
	s.start()
	require.Contains(t, <-s.log, "no update is quiesced")
	receipt := s.update(revokeAlice)
	require.False(t, receipt.Quiesced)
	require.True(t, receipt.Settling)
	before, err := s.client().Receipt(t.Context(), old.Revision, 0)
	require.NoError(t, err)
	require.False(t, before.Quiesced)
	require.True(t, before.Settling)
	s.quiesced(receipt.Revision)
	require.GreaterOrEqual(t, time.Since(started), settles)
	select {
	case at := <-ended:
		require.Less(t, at.Sub(started), settles)
		require.Equal(t, client.ErrLeaseExpired, context.Cause(l.Context()))
	default:
		t.Fatal("the operation is still running")
	}
	s.quiesced(old.Revision)
}

// stop stops the server with SIGTERM. The channel gets how it exited.
func (s *leaseServer) stop() <-chan error {
	require.NoError(s.t, s.server.Process.Signal(syscall.SIGTERM))
	exited := make(chan error, 1)
	go func() { exited <- s.server.Wait() }()
	return exited
}

// TestG5_ACleanStopWaitsForALease stops a server while a lease is out, and starts it again. The next
// start has nothing to wait for.
func TestG5_ACleanStopWaitsForALease(t *testing.T) {
	t.Parallel()
	s := newLeaseServer(t, time.Minute)
	c, _ := s.as("alice", time.Minute)
	l, err := c.Acquire(t.Context(), writeOrder)
	require.NoError(t, err)
	mark := s.devFile("data/leases")
	require.FileExists(t, mark)
	exited := s.stop()
	require.Contains(t, <-s.log, "waiting for remote leases")
	_, err = c.Acquire(t.Context(), writeOrder)
	require.ErrorContains(t, err, "Shutting down")
	require.Empty(t, exited, "it waits")
	require.NoError(t, l.Check())
	l.Release()
	require.NoError(t, <-exited)
	require.NoFileExists(t, mark)
	s.http.CloseIdleConnections()
	s.start()
	receipt := s.quiesced(s.update(revokeAlice).Revision)
	require.Zero(t, receipt.EndedCount)
	require.Empty(t, s.log, "the next start does not settle")
}

// startPiped starts a command in the folder of the server, and returns its first lines and its input.
func (s *leaseServer) startPiped(args ...string) (cmd *exec.Cmd, in io.Writer, lines *bufio.Scanner) {
	s.t.Helper()
	cmd = exec.Command(args[0], args[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(s.t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, cmd.Start())
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Process.Kill()
	})
	return cmd, in, bufio.NewScanner(out)
}

// TestG2_APausedClientIsExpired stops clients for longer than their leases. The receipt says that the
// leases have expired. The clients notice when they go on.
func TestG2_APausedClientIsExpired(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		if os.Getenv("CI") == "" && os.Getenv("INTERLOCK_SOAK") == "" {
			t.Skip("python3 is not installed")
		}
		t.Fatal(err)
	}
	s := newLeaseServer(t, shortTTL)
	here, err := os.Getwd()
	require.NoError(t, err)
	at := func(path string) string { return filepath.Join(here, "../..", path) }
	driver, in, says := s.startPiped("python3", at("httpapi/leases/testdata/driver.py"), at("docs/leases"), s.callers,
		s.devFile("ca.crt"), s.devFile("alice.crt"), s.devFile("alice.key"), fmt.Sprint(shortTTL.Seconds()))
	_, err = fmt.Fprintln(in, `acquire a orders:write orders 42 {"amount":12}`)
	require.NoError(t, err)
	require.True(t, says.Scan())
	require.True(t, strings.HasPrefix(says.Text(), "acquired a "), says.Text())
	runner, _, output := s.startPiped("interlock", "lease", "orders:write", "orders/43", "--property", "amount=12", "--ttl", shortTTL.String(),
		"--as", "alice", "--server", s.callers, "--", "sh", "-c", "echo $$; exec sleep 1000")
	require.True(t, output.Scan())
	var child int
	_, err = fmt.Sscan(output.Text(), &child)
	require.NoError(t, err)

	require.NoError(t, driver.Process.Signal(syscall.SIGSTOP))
	require.NoError(t, runner.Process.Signal(syscall.SIGSTOP))
	revision := s.update(revokeAlice).Revision
	require.False(t, s.isQuiesced(revision))
	receipt := s.quiesced(revision)
	require.Len(t, receipt.Ended, 2)
	for i := range receipt.Ended {
		require.Equal(t, actors.HowExpired, receipt.Ended[i].How)
	}

	require.NoError(t, runner.Process.Signal(syscall.SIGCONT))
	var exit *exec.ExitError
	require.ErrorAs(t, runner.Wait(), &exit)
	require.Equal(t, 124, exit.ExitCode())
	require.ErrorIs(t, syscall.Kill(child, 0), syscall.ESRCH, "its command was killed")
	require.NoError(t, driver.Process.Signal(syscall.SIGCONT))
	_, err = fmt.Fprintln(in, "check a")
	require.NoError(t, err)
	checked := ""
	for says.Scan() {
		if checked = says.Text(); strings.HasPrefix(checked, "check ") {
			break
		}
		require.Equal(t, "lost a expired", checked)
	}
	require.Equal(t, "check a expired", checked)
}

// leaseAgent is a role that lets its principal hold leases for alice.
var leaseAgent = policy.ChangeSpec{Op: policy.OpPutRole, Role: policy.RoleRef{Definition: &policy.RoleSpec{Name: "agent", Permissions: []policy.PermissionSpec{
	{Actions: []string{"interlock:lease"}, Resources: []string{"principals/**"}},
}}}}

// TestG2_TheRightToActForAnotherIsRevoked revokes the holder's right while a lease for another
// principal is out.
func TestG2_TheRightToActForAnotherIsRevoked(t *testing.T) {
	t.Parallel()
	s := newLeaseServer(t, time.Minute)
	is := policy.ChangeSpec{Op: policy.OpGrant, Principal: cli.DevTrustDomain + "bob", Role: policy.RoleRef{Name: "agent"}}
	s.update(leaseAgent, is)
	c, _ := s.as("bob", time.Minute)
	asked := writeOrder
	asked.Subject = client.Entity{Type: "principal", ID: cli.DevTrustDomain + "alice"}
	l, err := c.Acquire(t.Context(), asked)
	require.NoError(t, err)
	is.Op = policy.OpRevoke
	start := time.Now()
	revision := s.update(is).Revision
	lost(t, l, client.ErrRevoked)
	require.Less(t, time.Since(start), 10*time.Second, "an event tells it, before a renewal does")
	require.False(t, s.isQuiesced(revision))
	l.Release()
	receipt := s.quiesced(revision)
	require.Len(t, receipt.Ended, 1)
	require.Equal(t, actors.HowReleased, receipt.Ended[0].How)
	_, err = c.Acquire(t.Context(), asked)
	require.ErrorIs(t, err, client.ErrDenied)
}

// TestG2_ARotatedCertificateKeepsALease revokes the certificate that a lease was acquired with, and
// then the one that it has moved to.
func TestG2_ARotatedCertificateKeepsALease(t *testing.T) {
	t.Parallel()
	s := newLeaseServer(t, time.Minute)
	c, cert := s.as("alice", 2*shortTTL)
	l, err := c.Acquire(t.Context(), writeOrder)
	require.NoError(t, err)
	sha := func() string {
		sum := sha256.Sum256(cert.Load().Certificate[0])
		return hex.EncodeToString(sum[:])
	}
	revoked := func() policy.ChangeSpec { return policy.ChangeSpec{Op: policy.OpRevokeCertificate, SHA256: sha()} }
	first := revoked()
	cert.Store(s.issue("alice"))
	require.Eventually(t, func() bool {
		running, err := s.client().Operations(t.Context(), cli.DevTrustDomain+"alice")
		return err == nil && len(running) == 1 && running[0].Certificate == sha()
	}, patience, 10*time.Millisecond, "a renewal moves it")
	receipt := s.quiesced(s.update(first).Revision)
	require.Zero(t, receipt.EndedCount)
	require.NoError(t, l.Check())
	third := s.issue("alice")
	revision := s.update(revoked()).Revision
	require.False(t, s.isQuiesced(revision))
	cert.Store(third)
	lost(t, l, client.ErrRevoked)
	l.Release()
	receipt = s.quiesced(revision)
	require.Len(t, receipt.Ended, 1)
	require.Equal(t, actors.HowReleased, receipt.Ended[0].How)
}
