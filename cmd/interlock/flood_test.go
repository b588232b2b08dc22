package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// TestLimits_ConnectionsLeaveFilesForTheStore opens more connections, without TLS, than the process may have files. The store
// and an administrator still have theirs.
//
// SECURITY, line 26.
func TestLimits_ConnectionsLeaveFilesForTheStore(t *testing.T) {
	t.Parallel()
	k := &killed{t: t, dir: t.TempDir(), files: 200}
	k.start()
	admin := k.client()
	k.http.Timeout = 4 * time.Second // after 5 s the server closes the first connections
	var open []net.Conn
	defer func() {
		for _, conn := range open {
			_ = conn.Close()
		}
	}()
	for i := range 300 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(k.callers, "https://"))
		require.NoError(t, err)
		open = append(open, conn)
		if i%10 != 0 {
			continue
		}
		k.http.CloseIdleConnections() // so that the administrator connects again
		change := policy.ChangeSpec{Op: policy.OpGrant, Principal: "user:a", Role: policy.RoleRef{Name: "order-reader"}, Reason: strings.Repeat("x", i)}
		result, err := admin.Update(t.Context(), []policy.ChangeSpec{change}, client.UpdateOptions{})
		require.NoError(t, err, "after %d connections", i)
		require.True(t, result.Receipt.Quiesced)
	}
	_, _, err := admin.Backup(t.Context(), io.Discard)
	require.NoError(t, err, "it copies the store's files")
	v, err := admin.Verify(t.Context())
	require.NoError(t, err)
	require.Empty(t, v.Damage)
}

// floods are what a certificate without a grant, and a client without one, can send again and again. Each returns when it was
// answered.
func floods(callers, admins string, stranger, uncertified *http.Client) map[string]func() {
	large := `{"changes":[{"op":"put-role","role":{"name":"x","inherits":[` + strings.Repeat(`"a",`, 200_000) + `"a"]}}]}`
	item := `{"resource":{"type":"orders","id":"1","properties":{"a":[` + strings.Repeat("1,", 500) + `1]}}}`
	batch := `{"subject":{"type":"principal","id":"spiffe://interlock.test/erik"},"action":{"name":"orders:read"},"evaluations":[` +
		strings.Repeat(item+",", 499) + item + `]}`
	send := func(c *http.Client, method, url, media, body string, headers ...string) func() {
		return func() {
			r, err := http.NewRequest(method, url, strings.NewReader(body))
			if err != nil {
				panic(err)
			}
			r.Header.Set("Content-Type", media)
			for i := 0; i < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
			if resp, err := c.Do(r); err == nil {
				_, _ = io.CopyN(io.Discard, resp.Body, 1<<20)
				_ = resp.Body.Close()
			}
		}
	}
	return map[string]func(){
		"changes":     send(stranger, http.MethodPost, admins+"/v1/changes", "application/json", large),
		"policy":      send(stranger, http.MethodPut, admins+"/v1/policy", "application/json", large, "If-Match", "*"),
		"explanation": send(stranger, http.MethodPost, admins+"/v1/explain", "application/json", large),
		"feed":        send(stranger, http.MethodGet, admins+"/v1/changes", "text/plain", "", "Accept", "text/event-stream"),
		"batch":       send(stranger, http.MethodPost, callers+"/access/v1/evaluations", "application/json", batch),
		"order":       send(stranger, http.MethodGet, callers+"/orders/1", "text/plain", ""),
		"uncertified": send(uncertified, http.MethodPost, admins+"/v1/changes", "application/json", large),
		"connection": func() {
			if conn, err := net.Dial("tcp", strings.TrimPrefix(callers, "https://")); err == nil {
				time.AfterFunc(time.Second, func() { _ = conn.Close() })
			}
		},
	}
}

// flood is the command that floods a server, until it is killed. Its arguments are the URLs of callers and administrators, and
// the folder of certificates.
func flood() {
	callers, admins, dir := os.Args[1], os.Args[2], os.Args[3]
	as := func(name string) *http.Client {
		o := certs.ClientOptions{CAFile: filepath.Join(dir, "ca.crt")}
		if name != "" {
			o.CertFile, o.KeyFile = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
		}
		config, err := certs.ClientConfig(o)
		if err != nil {
			panic(err)
		}
		return &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 4, ForceAttemptHTTP2: true}}
	}
	for name, again := range floods(callers, admins, as("erik"), as("")) {
		if only := os.Getenv("FLOOD"); only != "" && only != name {
			continue // to measure one kind apart
		}
		for range 4 {
			go func() {
				for {
					again()
				}
			}()
		}
	}
	select {}
}

// TestLimits_AFloodStopsNoRevocation has an administrator revoke and a granted caller ask, alone and during a flood by
// clients that have no grant, on one processor. It prints how much longer they take.
//
// SECURITY, lines 23 and 25.
func TestLimits_AFloodStopsNoRevocation(t *testing.T) {
	rounds := 5
	if os.Getenv("INTERLOCK_SOAK") != "" {
		rounds = 100
	}
	k := &killed{t: t, dir: t.TempDir()}
	k.start()
	dir := filepath.Join(k.dir, cli.DevFolder)
	interlock(t, "ca", "issue", "client", "erik", "--dir", dir)
	config, err := certs.ClientConfig(certs.ClientOptions{
		CAFile: filepath.Join(dir, "ca.crt"), CertFile: filepath.Join(dir, "alice.crt"), KeyFile: filepath.Join(dir, "alice.key"),
	})
	require.NoError(t, err)
	alice, err := client.New(client.Options{BaseURL: k.callers, TLS: config})
	require.NoError(t, err)
	measure := func() (revocations, answers []time.Duration) {
		pace := time.NewTicker(50 * time.Millisecond) // below the rate that the server allows an author
		defer pace.Stop()
		for range rounds {
			<-pace.C
			began := time.Now()
			k.revoke()
			revocations = append(revocations, time.Since(began))
			began = time.Now()
			d, err := alice.Evaluate(context.Background(), client.Evaluation{
				Subject: client.Entity{Type: "principal", ID: "spiffe://interlock.test/alice"},
				Action:  client.Action{Name: "orders:read"}, Resource: client.Entity{Type: "orders", ID: "42"},
			}, client.EvaluateOptions{})
			require.NoError(t, err)
			require.True(t, d.Decision)
			answers = append(answers, time.Since(began))
		}
		return revocations, answers
	}
	measure() // connects
	revocationsAlone, answersAlone := measure()
	attacker := exec.Command("flood", k.callers, k.admin, dir)
	attacker.Env = append(os.Environ(), "GOMAXPROCS=1")
	attacker.Stderr = os.Stderr
	require.NoError(t, attacker.Start())
	t.Cleanup(func() { _ = attacker.Process.Kill() }) // it is dead unless the test failed
	measure()                                         // until the flood is at its height
	revocations, answers := measure()
	require.NoError(t, attacker.Process.Kill())
	_ = attacker.Wait() // it was killed
	memory := residentMemory(t, k.server.Process.Pid)
	t.Logf("revocations p99 %v alone, %v during the flood; answers %v, %v; memory %d MiB",
		p99(revocationsAlone), p99(revocations), p99(answersAlone), p99(answers), memory>>20)
	require.Less(t, memory, int64(1<<30))
	v, err := k.client().Verify(t.Context())
	require.NoError(t, err)
	require.Empty(t, v.Damage, "nothing has to be repaired")
}

// revoke grants a role and revokes it.
func (k *killed) revoke() {
	grant := policy.ChangeSpec{Op: policy.OpGrant, Principal: "user:a", Role: policy.RoleRef{Name: "order-reader"}}
	taken := grant
	taken.Op = policy.OpRevoke
	for _, c := range []policy.ChangeSpec{grant, taken} {
		result, err := k.client().Update(k.t.Context(), []policy.ChangeSpec{c}, client.UpdateOptions{})
		require.NoError(k.t, err)
		require.True(k.t, result.Receipt.Quiesced)
	}
}

func p99(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[(len(all)-1)*99/100]
}

// residentMemory returns the memory of a process in bytes.
func residentMemory(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Skip("the system has no /proc")
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	require.NoError(t, err)
	return pages * int64(os.Getpagesize())
}
