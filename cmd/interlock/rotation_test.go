package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
)

// spell tells whether one kind of client is accepted now. Its number grows when a change
// begins and when it ends, so an odd number means that a change is in progress.
type spell struct {
	number atomic.Int64
	passes atomic.Bool // while the number is even
}

// change makes a change after which this kind of client is accepted or rejected.
func (s *spell) change(passes bool, change func()) {
	s.number.Add(1)
	change()
	s.passes.Store(passes)
	s.number.Add(1)
}

// visitor sends requests. Each one must be accepted, must be rejected, or may be either.
type visitor struct {
	kind   string
	spell  *spell
	client *http.Client
	header http.Header

	passed, refused, wrong int
	took                   []time.Duration
	faults                 []string
}

const rotationQuestion = `{"subject":{"type":"principal","id":"spiffe://a.example/alice"},"action":{"name":"orders:read"},"resource":{"type":"orders","id":"1"}}`

func (v *visitor) visit(address string) {
	number, passes := v.spell.number.Load(), v.spell.passes.Load()
	req := must(http.NewRequest(http.MethodPost, "https://"+address+"/access/v1/evaluation", strings.NewReader(rotationQuestion)))
	req.Header = v.header.Clone()
	began := time.Now()
	status := 0
	resp, err := v.client.Do(req)
	if err == nil {
		status = resp.StatusCode
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	v.took = append(v.took, time.Since(began))
	passed := err == nil && status == http.StatusOK
	if passed {
		v.passed++
	} else {
		v.refused++
	}
	if number%2 == 0 && number == v.spell.number.Load() && passed != passes {
		v.wrong++
		v.faults = append(v.faults, fmt.Sprintf("%s passed: %v, in a time in which it %v: status %d, %v", v.kind, passed, passes, status, err))
	}
}

// rotation is a server under load whose certificate, CAs and CRLs change.
type rotation struct {
	*running
	t        *testing.T
	partners *minter
	revoked  []*big.Int
	uses     int
	visitors []*visitor
}

// visit starts clients of one kind: on existing and on new connections, with HTTP/1.1 and
// HTTP/2.
func (r *rotation) visit(kind string, n int, leaf func() tls.Certificate, s *spell) {
	for i := range n {
		config := r.client(leaf())
		protocols := new(http.Protocols)
		protocols.SetHTTP1(i%2 == 0)
		protocols.SetHTTP2(i%2 == 1)
		v := &visitor{
			kind: kind, spell: s, header: http.Header{"Content-Type": {"application/json"}},
			client: &http.Client{Timeout: patience, Transport: &http.Transport{
				TLSClientConfig: config, Protocols: protocols, DisableKeepAlives: i%4 >= 2,
			}},
		}
		if kind != "good" {
			v.header.Set("X-Idempotency-Key", "any") // the server may close the connection at the same time
		}
		r.visitors = append(r.visitors, v)
	}
}

// used waits until the server has loaded the change.
func (r *rotation) used() {
	r.uses++
	r.eventually(r.t, func() bool { return strings.Count(r.log.String(), "CRLs loaded") >= r.uses })
}

// TestRotationUnderLoad changes certificates, CAs and CRLs a hundred times while 64 clients
// work. No request fails that must be accepted, and no request is accepted that must fail.
func TestRotationUnderLoad(t *testing.T) {
	r := &rotation{t: t, partners: newRoot(t, "partners")}
	var authorities, lists string
	r.running = newRunning(t, func(c *config.Config) {
		authorities, lists = c.TLS.ClientCA, c.TLS.CRLs[0]
	})
	r.uses = strings.Count(r.log.String(), "CRLs loaded")

	good, foreign := &spell{}, &spell{}
	good.passes.Store(true)
	r.visit("good", 32, func() tls.Certificate { return r.clients.leaf() }, good)
	r.visit("foreign", 16, func() tls.Certificate { return r.partners.leaf() }, foreign)
	lost := make([]*spell, 16)
	serials := make([]*big.Int, len(lost))
	for i := range lost {
		lost[i], serials[i] = &spell{}, newSerial()
		lost[i].passes.Store(true)
		r.visit("lost", 1, func() tls.Certificate { return r.clients.leaf(serial(serials[i])) }, lost[i])
	}

	var (
		stop atomic.Bool
		all  sync.WaitGroup
	)
	for _, v := range r.visitors {
		all.Go(func() {
			for !stop.Load() {
				v.visit(r.address)
			}
			v.client.CloseIdleConnections()
		})
	}
	own, partners := chainPEM(tls.Certificate{Certificate: [][]byte{r.clients.cert.Raw}}), chainPEM(tls.Certificate{Certificate: [][]byte{r.partners.cert.Raw}})
	began := time.Now()
	changes := 9
	if os.Getenv("INTERLOCK_SOAK") != "" {
		changes = 100
	}
	for i := range changes {
		switch i % 3 {
		case 0:
			r.issueServer(t)
			r.used()
		case 1:
			in := i%2 == 1
			text := own
			if in {
				text = slices.Concat(own, partners)
			}
			foreign.change(in, func() {
				require.NoError(t, replaceFile(authorities, text))
				r.used()
			})
		case 2:
			if n := len(r.revoked); n < len(lost) {
				lost[n].change(false, func() {
					r.revoked = append(r.revoked, serials[n])
					r.clients.writeList(t, lists+".new", time.Now().Add(time.Hour), r.revoked...)
					require.NoError(t, os.Rename(lists+".new", lists))
					r.used()
				})
				continue
			}
			r.clients.writeList(t, lists+".new", time.Now().Add(time.Hour+time.Duration(i)*time.Second), r.revoked...)
			require.NoError(t, os.Rename(lists+".new", lists))
			r.used()
		}
	}
	took := time.Since(began)
	stop.Store(true)
	all.Wait()
	r.report(changes, took)
}

// replaceFile replaces a file at once, as operators do.
func replaceFile(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (r *rotation) report(changes int, took time.Duration) {
	passed, refused := map[string]int{}, map[string]int{}
	var times []time.Duration
	for _, v := range r.visitors {
		passed[v.kind] += v.passed
		refused[v.kind] += v.refused
		times = append(times, v.took...)
		if v.wrong > 0 {
			r.t.Errorf("%d wrong answers, such as: %s", v.wrong, v.faults[0])
		}
	}
	require.Zero(r.t, refused["good"])
	for _, kind := range []string{"good", "foreign", "lost"} {
		require.NotZero(r.t, passed[kind])
	}
	require.NotZero(r.t, refused["foreign"])
	require.NotZero(r.t, refused["lost"])
	slices.Sort(times)
	r.t.Logf("%d changes in %v, %v each; %d requests (%d and %d by certificates that came and went), p50 %v, p99 %v, longest %v",
		changes, took.Round(time.Millisecond), (took / time.Duration(changes)).Round(time.Millisecond), len(times),
		passed["foreign"]+refused["foreign"], passed["lost"]+refused["lost"],
		times[len(times)/2].Round(time.Microsecond), times[len(times)*99/100].Round(time.Microsecond), times[len(times)-1].Round(time.Microsecond))
}
