//go:build unix

package httpapi_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// idlersVariable tells this program to be the clients of a test, and where their
// certificates are.
const idlersVariable = "INTERLOCK_TEST_IDLERS"

// TestMain is the clients' program too, for what a server takes can only be seen in a process
// without them.
func TestMain(m *testing.M) {
	if dir := os.Getenv(idlersVariable); dir != "" {
		if err := idle(dir, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// idle makes connections, each by a client of its own which asks once and then keeps it, and
// says so. The arguments are the address, the version of HTTP, the number of connections and
// that of certificates.
func idle(dir string, args []string) error {
	count, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	holders, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	config := make([]*tls.Config, holders)
	for i := range config {
		base := filepath.Join(dir, holder(i))
		config[i], err = certs.ClientConfig(certs.ClientOptions{
			CAFile: filepath.Join(dir, "ca", devca.CertFile), CertFile: base + ".crt", KeyFile: base + ".key",
		})
		if err != nil {
			return err
		}
	}
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	next := atomic.Int64{}
	for range 16 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < count; i = int(next.Add(1)) - 1 {
				if err := idleOnce(args[0], servertest.Wire(args[1]), config[i%holders]); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	fmt.Println("idle")
	_, err = io.Copy(io.Discard, os.Stdin) // until its parent has seen enough
	return err
}

func idleOnce(url string, speaks servertest.Wire, config *tls.Config) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(speaks == servertest.HTTP1)
	protocols.SetHTTP2(speaks == servertest.HTTP2)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), Protocols: protocols}}
	got, err := c.Get(url + "/whoami")
	if err != nil {
		return err
	}
	defer func() { _ = got.Body.Close() }()
	if got.StatusCode != 200 {
		return fmt.Errorf("the answer was %s", got.Status)
	}
	_, err = io.Copy(io.Discard, got.Body)
	return err
}

func holder(i int) string { return fmt.Sprintf("holder-%d", i) }

// startIdlers returns when their program has made the connections, which leave closes.
func (s *guardStation) startIdlers(speaks servertest.Wire, count, holders int) (leave func()) {
	s.T.Helper()
	program, err := os.Executable()
	require.NoError(s.T, err)
	cmd := exec.Command(program, s.URL, string(speaks), strconv.Itoa(count), strconv.Itoa(holders))
	cmd.Env = append(os.Environ(), idlersVariable+"="+s.Dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(s.T, err)
	out, err := cmd.StdoutPipe()
	require.NoError(s.T, err)
	require.NoError(s.T, cmd.Start())
	leave = sync.OnceFunc(func() {
		_ = in.Close()
		_ = cmd.Wait() // its answer was what it wrote
	})
	s.T.Cleanup(leave)
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(s.T, err)
	require.Equal(s.T, "idle\n", line)
	return leave
}

// affordableConnections are as many as there can be, of so many wanted.
func affordableConnections(t *testing.T, wanted int) int {
	t.Helper()
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	const others = 256
	if limit.Cur < uint64(wanted)+others {
		t.Logf("%d connections would be too many for ulimit -n %d", wanted, limit.Cur)
		require.Greater(t, limit.Cur, uint64(others))
		return int(limit.Cur - others)
	}
	return wanted
}

// memory is what the process takes for heap and stacks.
func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// TestLimits_IdleConnections measures what idle connections cost, and how soon many
// of them are closed. INTERLOCK_SOAK=1 makes it 10,000, and prints figures for
// docs/reliability.md.
//
// SECURITY, line 10.
func TestLimits_IdleConnections(t *testing.T) {
	const holders = 10
	for _, speaks := range servertest.Wires {
		t.Run(string(speaks), func(t *testing.T) {
			s := newGuardStation(t)
			s.router.Handle("/whoami", whoami(s.Connections))
			s.Serve(s.router, func(o *httpapi.ServerOptions) { o.Logger = slog.New(slog.DiscardHandler) })
			for i := range holders {
				pair, err := s.Authority.IssueClient(servertest.ClientLeaf(holder(i)))
				require.NoError(t, err)
				require.NoError(t, pair.Write(s.Dir, holder(i), true))
			}
			count := affordableConnections(t, either(150, 10_000))
			goroutines, before, began := runtime.NumGoroutine(), memory(), time.Now()
			leave := s.startIdlers(speaks, count, holders)
			took := time.Since(began)
			s.requireOpen(int64(count))
			bytes := (float64(memory()) - float64(before)) / float64(count)
			each := float64(runtime.NumGoroutine()-goroutines) / float64(count)
			t.Logf("%d connections in %v: %.1f KiB and %.2f goroutines each", count, took.Round(time.Millisecond), bytes/1024, each)
			require.Less(t, bytes, float64(128<<10))
			require.Less(t, each, 2.5)

			pair, err := certs.LoadKeyPair(filepath.Join(s.Dir, holder(0)+".crt"), filepath.Join(s.Dir, holder(0)+".key"))
			require.NoError(t, err)
			id, err := policy.ByFingerprint(servertest.FingerprintOf(pair))
			require.NoError(t, err)
			ended := count / holders
			began = time.Now()
			receipt := requireQuiesced(t, s.update(policy.RevokeCertificate(id, "stolen")))
			told := time.Since(began)
			require.Equal(t, ended, receipt.Connections)
			s.requireOpen(int64(count - ended))
			t.Logf("a revocation of %d of them: the receipt came after %v, they were closed after %v",
				ended, told.Round(100*time.Microsecond), time.Since(began).Round(time.Millisecond))
			require.Equal(t, 200, s.whoami(s.As("alice")).StatusCode)

			leave()
			s.requireOpen(1)
			forgotten := func() bool { return float64(memory())-float64(before) < float64(count)*bytes/4 }
			require.Eventually(t, forgotten, patience, 50*time.Millisecond, "nothing of them is kept")
		})
	}
}
