package leases_test

import (
	"bufio"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/certs/devca"
)

// needPython skips a test on a machine without Python, but not where the tests have to be complete.
func needPython(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("python3")
	if err != nil && os.Getenv("CI") == "" && os.Getenv("INTERLOCK_SOAK") == "" {
		t.Skip("python3 is not installed")
	}
	require.NoError(t, err)
}

// python is a process of testdata/driver.py, which says what its commands are.
type python struct {
	t     *testing.T
	in    io.Writer
	lines chan string
}

const pythonTTL = 1500 * time.Millisecond

// startPython starts the Python client with a certificate for the name. It calls the server at url.
func (s *tlsStation) startPython(t *testing.T, name, url string, ttl time.Duration) *python {
	t.Helper()
	cert := s.Issue(domain + name)
	at := func(file string) string { return filepath.Join(s.Dir, name+file) }
	var chain []byte
	for _, der := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(at(".crt"), chain, 0o600))
	require.NoError(t, os.WriteFile(at(".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	cmd := exec.Command("python3", "testdata/driver.py", "../../docs/leases", url, filepath.Join(s.Dir, "ca", devca.CertFile),
		at(".crt"), at(".key"), fmt.Sprint(ttl.Seconds()))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &python{t: t, in: in, lines: make(chan string, 100)}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(p.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.lines <- lines.Text()
		}
	})
	t.Cleanup(func() {
		_ = in.Close() // the driver ends
		reading.Wait()
		require.NoError(t, cmd.Wait())
	})
	return p
}

func (p *python) do(format string, args ...any) {
	p.t.Helper()
	_, err := fmt.Fprintf(p.in, format+"\n", args...)
	require.NoError(p.t, err)
}

// expect requires that the next line begins like that, and returns the rest.
func (p *python) expect(begins string) string {
	p.t.Helper()
	select {
	case line := <-p.lines:
		rest, ok := strings.CutPrefix(line, begins)
		require.True(p.t, ok, "%q, not %q", line, begins)
		return strings.TrimSpace(rest)
	case <-time.After(20 * time.Second):
		p.t.Fatalf("the driver does not say %q", begins)
		return ""
	}
}

// forwarder forwards connections to a server, until it is cut: then nothing arrives in either
// direction, and no connection breaks.
type forwarder struct {
	url string

	mu    sync.Mutex
	isCut bool
}

func forward(t *testing.T, url string) *forwarder {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f := &forwarder{url: "https://" + listener.Addr().String()}
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", strings.TrimPrefix(url, "https://"))
			if err != nil {
				_ = near.Close()
				continue
			}
			mu.Lock()
			open = append(open, near, far)
			mu.Unlock()
			all.Go(func() { f.copy(near, far) })
			all.Go(func() { f.copy(far, near) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return f
}

func (f *forwarder) copy(to, from net.Conn) {
	data := make([]byte, 32<<10)
	for {
		n, err := from.Read(data)
		f.mu.Lock()
		cut := f.isCut
		f.mu.Unlock()
		if n > 0 && !cut {
			_, _ = to.Write(data[:n])
		}
		if err != nil {
			if !cut {
				_ = to.Close()
			}
			return
		}
	}
}

func (f *forwarder) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.isCut = true
}

// TestPythonState runs the scenarios of docs/leases/client.txt with the Python client.
func TestPythonState(t *testing.T) {
	needPython(t)
	output, err := exec.Command("python3", "../../docs/leases/scenarios.py").CombinedOutput()
	require.NoError(t, err, string(output))
	require.Regexp(t, `^(1[7-9]|[2-9]\d) scenarios, 0 failures\n$`, string(output))
}

// TestG1G2_ThePythonClient acquires, renews and releases leases, and is told of a denial and of a
// revocation.
func TestG1G2_ThePythonClient(t *testing.T) {
	needPython(t)
	s := newTLSStation(t)
	p := s.startPython(t, "alice", s.URL, 2*pythonTTL) // time for a busy machine to release
	p.do("acquire a jobs:run jobs 7")
	p.expect("acquired a")
	p.do("acquire b jobs:run jobs 8")
	p.expect("acquired b")
	p.do("acquire c jobs:try jobs 7")
	p.expect("denied c")
	require.Eventually(t, func() bool { return s.leases.Counts().Renewed > 8 }, 20*time.Second, 10*time.Millisecond, "they outlive their TTL")
	p.do("check a")
	p.expect("held a")
	p.do("release b")
	p.expect("released b")
	require.EqualValues(t, 1, s.leases.Counts().Released)

	// Another process renews so rarely that only an event can tell it in time.
	rare := s.startPython(t, "alice", s.URL, time.Minute)
	rare.do("acquire r jobs:run jobs 9")
	rare.expect("acquired r")
	start := time.Now()
	receipt := s.update(nil, revokeSPIFFE("alice")...)
	p.expect("lost a revoked")
	rare.expect("lost r revoked")
	require.Less(t, time.Since(start), 5*time.Second)
	p.do("check a")
	p.expect("check a revoked")
	rare.do("release r")
	rare.expect("released r")
	require.Empty(t, receipt)
	p.do("release a")
	p.expect("released a")
	ended := (<-receipt).Ended
	require.Len(t, ended, 2)
	require.Equal(t, actors.HowReleased, ended[0].How)
	require.Equal(t, actors.HowReleased, ended[1].How)
	p.do("acquire d jobs:run jobs 7")
	p.expect("denied d")
	require.Zero(t, s.leases.Counts().Live)
}

// TestG2_APythonClientThatIsCutOffStopsFirst measures when a client without contact stops.
func TestG2_APythonClientThatIsCutOffStopsFirst(t *testing.T) {
	needPython(t)
	s := newTLSStation(t)
	way := forward(t, s.URL)
	p := s.startPython(t, "alice", way.url, pythonTTL)
	p.do("acquire a jobs:run jobs 7")
	p.expect("acquired a")
	require.Eventually(t, func() bool { return s.leases.Counts().Renewed > 4 }, 20*time.Second, 10*time.Millisecond)
	way.cut()
	start := time.Now()
	receipt := s.update(nil, revokeSPIFFE("alice")...)
	p.expect("lost a expired")
	require.Empty(t, receipt, "the client stops first")
	require.Less(t, time.Since(start), pythonTTL)
	ended := (<-receipt).Ended
	require.Len(t, ended, 1)
	require.Equal(t, actors.HowExpired, ended[0].How)
	require.Less(t, time.Since(start), pythonTTL+500*time.Millisecond)
	p.do("check a")
	p.expect("check a expired")
}
