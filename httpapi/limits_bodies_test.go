package httpapi_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/admin"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// endless is a body of which it is counted how much was asked for.
type endless struct {
	text string // again and again
	sent atomic.Int64
}

func (b *endless) Read(p []byte) (int, error) {
	for n := copy(p, b.text); n < len(p); { // byte by byte is slow with the race detector
		n += copy(p[n:], p[:n])
	}
	b.sent.Add(int64(len(p)))
	return len(p), nil
}

// target is where a body can be sent to.
type target struct {
	name, who, method, path, media string
	station                        *station
}

// targets are all that read bodies: a guarded handler in its turn, the decision API and the
// admin API, each with a limit of 1 MiB.
func targets(t *testing.T) []target {
	t.Helper()
	guarded := newGuardStation(t)
	guarded.protect("execute", httpapi.Rule{Action: "orders:read", Mode: httpapi.Execute}, nothing)
	decides := newStation(t, authzenPolicy).serveDecisions()
	administered := newStation(t, adminPolicy)
	administered.serve(admin.New(admin.Options{
		Engine: administered.Engine, Identifier: administered.Connections, Logger: administered.Log.Logger(), BodyLimit: 1 << 20, LinesLimit: 1 << 20,
	}))
	return []target{
		{"Execute", "bob", http.MethodPut, "/execute/1", "application/json", guarded.station},
		{"decision", "pep", http.MethodPost, evaluation, "application/json", decides},
		{"decisions", "pep", http.MethodPost, "/access/v1/evaluations", "application/json", decides},
		{"changes", "admin", http.MethodPost, "/v1/changes", "application/json", administered},
		{"policy in JSON", "admin", http.MethodPut, "/v1/policy", "application/json", administered},
		{"policy in YAML", "admin", http.MethodPut, "/v1/policy", "application/yaml", administered},
		{"policy in lines", "admin", http.MethodPut, "/v1/policy", "application/x-ndjson", administered},
	}
}

func (to target) request(body string) *http.Request {
	r := to.station.Request(to.method, to.path, body)
	r.Header.Set("Content-Type", to.media)
	r.Header.Set("If-Match", "*")
	return r
}

// TestLimits_GiantBodies sends 1 GiB, announced or not, with a certificate and without.
// The answer comes without the server's having read it, or held more than its limit of it.
//
// SECURITY, line 10.
func TestLimits_GiantBodies(t *testing.T) {
	all := targets(t)
	honest := func(to target, speaks servertest.Wire) *http.Client {
		return to.station.Client(speaks, to.station.Issue("spiffe://interlock.test/"+to.who))
	}
	stranger := func(to target, speaks servertest.Wire) *http.Client { return to.station.Client(speaks) }
	for _, to := range all {
		for _, speaks := range servertest.Wires {
			for _, announced := range []bool{true, false} {
				for status, client := range map[int]func(target, servertest.Wire) *http.Client{413: honest, 401: stranger} {
					name := fmt.Sprint(to.name, " ", speaks, " announced: ", announced, " for ", status)
					body, grown, began := &endless{text: " "}, peak(), time.Now()
					r := to.request("x")
					r.Body, r.ContentLength = io.NopCloser(io.LimitReader(body, 1<<30)), -1
					if announced {
						r.ContentLength = 1 << 30
					}
					c := client(to, speaks)
					got, err := to.station.Try(c, r)
					if err == nil { // else it was cut off while it was sending
						require.Equal(t, status, got.StatusCode, "%s: %s", name, got.Text)
					}
					c.CloseIdleConnections()
					require.Less(t, body.sent.Load(), int64(32<<20), name)
					require.Less(t, grown(), uint64(affordable), name)
					require.Less(t, time.Since(began), patience, name)
				}
			}
		}
	}
}

// laughs is YAML of which each line stands for ten of the one before.
func laughs(lines int) string {
	var text strings.Builder
	text.WriteString("a0: &a0 [x]\n")
	for i := range lines {
		alias := fmt.Sprintf("*a%d, ", i)
		fmt.Fprintf(&text, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(alias, 10), ", "))
	}
	return text.String()
}

// TestLimits_DeepBodies nests 100,000 levels, and more of what costs little to send.
//
// SECURITY, line 10.
func TestLimits_DeepBodies(t *testing.T) {
	const levels = 100_000
	for _, to := range targets(t)[1:] {
		c := to.station.Client(servertest.HTTP2, to.station.Issue("spiffe://interlock.test/"+to.who))
		for name, body := range map[string]string{
			"arrays":        strings.Repeat("[", levels) + strings.Repeat("]", levels),
			"open arrays":   strings.Repeat("[", levels),
			"objects":       strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels),
			"deep inside":   `{"roles":[{"name":"r","permissions":` + strings.Repeat("[", levels) + strings.Repeat("]", levels) + `}]}`,
			"many names":    "{" + strings.Repeat(`"a":1,`, levels/4) + `"a":1}`,
			"blocks":        strings.Repeat("- ", levels) + "a",
			"aliases":       laughs(30),
			"a long number": `{"changes":` + strings.Repeat("9", 9*levels) + `}`,
		} {
			grown, began := peak(), time.Now()
			got := to.station.Send(c, to.request(body))
			require.Contains(t, []int{400, 413, 422}, got.StatusCode, "%s, %s: %s", to.name, name, got.Text)
			require.Less(t, time.Since(began), patience/2, "%s, %s", to.name, name)
			require.Less(t, grown(), uint64(2*affordable), "%s, %s", to.name, name)
		}
	}
}

// TestLimits_BodiesOfOneCaller sends bodies that never end until one more finds no place. Another caller still has its own, and
// small bodies need none.
//
// SECURITY, line 26.
func TestLimits_BodiesOfOneCaller(t *testing.T) {
	for _, to := range targets(t)[:3] {
		t.Run(to.name, func(t *testing.T) {
			send := func(c *http.Client, body io.Reader) int {
				r := to.request("")
				switch body := body.(type) {
				case *strings.Reader:
					r.Body, r.ContentLength = io.NopCloser(body), body.Size()
				case io.ReadCloser:
					r.Body, r.ContentLength = body, -1
				}
				got, err := c.Do(r)
				if err != nil { // the answer came while the body was being sent
					return 0
				}
				_ = got.Body.Close()
				return got.StatusCode
			}
			large, small := strings.Repeat("[", 100_000), "["
			c := to.station.Client(servertest.HTTP2, to.station.Issue("spiffe://interlock.test/"+to.who))
			refusedAs := send(c, strings.NewReader(large))
			require.NotEqual(t, http.StatusServiceUnavailable, refusedAs)
			ended := make(chan struct{})
			var flood sync.WaitGroup
			for range 32 { // 1 MiB each
				flood.Go(func() {
					for got := 0; got == 0 || got == http.StatusServiceUnavailable; { // the request below had the place
						slow, end := io.Pipe()
						go func() { <-ended; _ = end.Close() }()
						got = send(c, slow)
					}
				})
			}
			require.Eventually(t, func() bool {
				return send(c, strings.NewReader(large)) == http.StatusServiceUnavailable
			}, 10*time.Second, time.Millisecond)
			require.Equal(t, refusedAs, send(c, strings.NewReader(small)), "it needs no place")
			other := to.station.Client(servertest.HTTP2, to.station.Issue("spiffe://interlock.test/other"))
			require.NotEqual(t, http.StatusServiceUnavailable, send(other, strings.NewReader(large)))
			close(ended)
			flood.Wait()
			require.Equal(t, refusedAs, send(c, strings.NewReader(large)), "the places are free again")
		})
	}
}
