package main

import (
	"bufio"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/clitest"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

const killWriters = 6

// TestG5_KillMinus9 kills a server at random times while clients write, and restarts it. Every acknowledged change must be
// in the log once. Every other change must be there completely or not at all. INTERLOCK_SOAK=1 selects the long form.
func TestG5_KillMinus9(t *testing.T) {
	t.Parallel()
	kills := 6
	if os.Getenv("INTERLOCK_SOAK") != "" {
		kills = 1000
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	k := &killed{t: t, dir: t.TempDir(), dice: rand.New(rand.NewPCG(seed, 1)), asked: map[string]*request9{}}
	k.start()
	for i := range killWriters {
		k.writers = append(k.writers, &writer9{k: k, n: i, dice: rand.New(rand.NewPCG(seed, uint64(i+2)))})
	}
	acknowledged, unknown := 0, 0
	for range kills {
		k.writeAndKill(time.Duration(k.dice.IntN(80_000)) * time.Microsecond)
		k.start()
		a, u := k.compare()
		acknowledged, unknown = acknowledged+a, unknown+u
	}
	t.Logf("%d kills, %d acknowledged changes, %d whose answer was lost", kills, acknowledged, unknown)
	require.Greater(t, acknowledged, kills, "too few changes to show anything")
}

// killed is a server that the test kills and restarts.
type killed struct {
	t       *testing.T
	dir     string
	dice    *rand.Rand
	server  *exec.Cmd
	admin   string
	http    *http.Client
	writers []*writer9
	callers string
	files   int               // RLIMIT_NOFILE; 0 for that of the test
	config  string            // of a configuration file; empty for none
	logged  func(line string) // gets each line of the log; nil for nothing

	mu       sync.Mutex
	asked    map[string]*request9 // since the last comparison, by reason
	compared uint64               // the revision up to which the log was compared
}

// request9 is a requested change. Its reason identifies it.
type request9 struct {
	key          string
	spec         policy.ChangeSpec
	revision     uint64 // once it was acknowledged
	acknowledged bool
}

func (k *killed) start() {
	args := []string{"interlock", "serve", "--dev", "--log-format", "json",
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--operator-listen", "127.0.0.1:0", "--gateway-listen", "127.0.0.1:0"}
	if k.config != "" {
		require.NoError(k.t, os.WriteFile(filepath.Join(k.dir, "config.yaml"), []byte(k.config), 0o600))
		args = append(args, "--config", "config.yaml")
	}
	if k.files > 0 {
		args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, k.files), "sh"}, args...)
	}
	k.server = exec.Command(args[0], args[1:]...)
	k.server.Dir = k.dir
	name, value := clitest.QuickRace()
	k.server.Env = append(os.Environ(), name+"="+value)
	output, err := k.server.StderrPipe()
	require.NoError(k.t, err)
	require.NoError(k.t, k.server.Start())
	ready, said := make(chan serving, 1), make(chan string, 1)
	go func() {
		text := ""
		for lines := bufio.NewScanner(output); lines.Scan(); {
			text += lines.Text() + "\n"
			if k.logged != nil {
				k.logged(lines.Text())
			}
			var at serving
			if stdjson.Unmarshal(lines.Bytes(), &at) == nil && at.Msg == "serving" {
				ready <- at
			}
		}
		said <- text
	}()
	select {
	case at := <-ready:
		k.admin, k.callers = at.Administrators, at.Callers
	case text := <-said:
		k.t.Fatalf("the server does not restart:\n%s", text)
	case <-time.After(patience):
		k.t.Fatal("the server is not ready")
	}
	k.t.Cleanup(func() { _ = k.server.Process.Kill() })
	if k.http == nil {
		config, err := certs.ClientConfig(certs.ClientOptions{
			CAFile:   filepath.Join(k.dir, cli.DevFolder, "ca.crt"),
			CertFile: filepath.Join(k.dir, cli.DevFolder, "admin.crt"), KeyFile: filepath.Join(k.dir, cli.DevFolder, "admin.key"),
		})
		require.NoError(k.t, err)
		k.http = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: killWriters}}
	}
}

func (k *killed) client() *client.Client {
	c, err := client.New(client.Options{BaseURL: k.admin, HTTPClient: k.http})
	require.NoError(k.t, err)
	return c
}

// writeAndKill starts all writers, kills the server after some time, and waits until all writers have failed.
func (k *killed) writeAndKill(after time.Duration) {
	var writers sync.WaitGroup
	first := make(chan struct{}, killWriters)
	for _, w := range k.writers {
		writers.Go(func() { w.write(first) })
	}
	<-first // something was acknowledged
	<-time.After(after)
	require.NoError(k.t, k.server.Process.Kill())
	_ = k.server.Wait() // it was killed
	writers.Wait()
	k.http.CloseIdleConnections()
}

// writer9 changes its own principal.
type writer9 struct {
	k    *killed
	n    int
	dice *rand.Rand
	made int
}

func (w *writer9) write(first chan<- struct{}) {
	for {
		r := w.next()
		w.k.mu.Lock()
		w.k.asked[r.spec.Reason] = r
		w.k.mu.Unlock()
		revision, err := w.k.ask(r)
		if err != nil {
			return
		}
		w.k.mu.Lock()
		r.revision, r.acknowledged = revision, true
		w.k.mu.Unlock()
		select {
		case first <- struct{}{}:
		default:
		}
	}
}

func (w *writer9) next() *request9 {
	w.made++
	spec := policy.ChangeSpec{
		Op: policy.OpGrant, Principal: fmt.Sprintf("user:w%d-%d", w.n, w.dice.IntN(5)), Role: policy.RoleRef{Name: "order-reader"},
		Reason: fmt.Sprintf("w%d-%d", w.n, w.made),
	}
	if w.dice.IntN(2) == 0 {
		spec.Op = policy.OpRevoke
	}
	return &request9{key: "key-" + spec.Reason, spec: spec}
}

// ask sends a request. It returns an error if there is no response.
func (k *killed) ask(r *request9) (uint64, error) {
	result, err := k.client().Update(context.Background(), []policy.ChangeSpec{r.spec}, client.UpdateOptions{IdempotencyKey: r.key})
	if err != nil {
		if p, ok := errors.AsType[*client.Problem](err); ok && p.Status != http.StatusGatewayTimeout {
			k.t.Errorf("%s is refused: %v", r.spec.Reason, p)
		}
		return 0, err
	}
	return result.Receipt.Revision, nil
}

// compare compares the log of the restarted server with the requests.
func (k *killed) compare() (acknowledged, unknown int) {
	found := k.newEntries()
	for reason, r := range k.asked {
		revision, there := found[reason]
		delete(found, reason)
		if r.acknowledged {
			acknowledged++
			require.True(k.t, there, "%s was acknowledged as revision %d, and is gone", reason, r.revision)
			require.Equal(k.t, r.revision, revision, reason)
		} else {
			unknown++
		}
		// Asked for again, it is applied if it was not, and not twice.
		again, err := k.ask(r)
		require.NoError(k.t, err)
		if there {
			require.Equal(k.t, revision, again, "%s was applied twice", reason)
		} else {
			require.Greater(k.t, again, k.compared, reason)
		}
	}
	require.Empty(k.t, found, "changes that no client asked for")
	k.asked = map[string]*request9{}
	k.newEntries() // the repeated ones
	k.verify()
	return acknowledged, unknown
}

// newEntries returns the changes since the last call, by reason, each with its revision.
func (k *killed) newEntries() map[string]uint64 {
	found := map[string]uint64{}
	for {
		page, err := k.client().Changes(context.Background(), client.PageOptions{Limit: 1000, After: k.compared})
		require.NoError(k.t, err)
		if len(page.Changes) == 0 {
			return found
		}
		for i := range page.Changes {
			e := &page.Changes[i]
			require.Equal(k.t, k.compared, e.Previous, "an entry is missing before revision %d", e.Revision)
			k.compared = e.Revision
			if e.Author == "" {
				continue // the first policy
			}
			require.Len(k.t, e.Changes, 1)
			require.NotContains(k.t, found, e.Changes[0].Reason, "it is there twice")
			found[e.Changes[0].Reason] = e.Revision
		}
	}
}

// verify has the server verify its store.
func (k *killed) verify() {
	v, err := k.client().Verify(context.Background())
	require.NoError(k.t, err)
	require.Empty(k.t, v.Damage)
	require.Equal(k.t, k.compared, v.Revision)
}
