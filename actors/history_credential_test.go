package actors_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/historytest"
	"github.com/interlock-authz/interlock/actors/policy"
)

// In histories of credentials each principal may do everything. Each action stands for a
// certificate of the principal, and a certificate that has ended stays ended.

const credentialPrincipals = 6

// credentials are what a history's principals come by. The certificates 1 and 2 of a
// principal are an intermediate authority's, its own.
type credentials struct {
	prefix byte
	good   [credentialPrincipals][historytest.Actions]atomic.Bool
	all    [credentialPrincipals][historytest.Actions]*actors.Credential
	above  [credentialPrincipals]*actors.Credential
}

const listedSerials = "123" // of the certificates 0, 1, 2

func newCredentials(n int) *credentials {
	c := &credentials{prefix: byte(n)}
	from, to := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for p := range credentialPrincipals {
		issuer := c.issuer(p)
		c.above[p] = actors.NewCredential([32]byte{c.prefix, byte(p), 9}, [32]byte{7}, fmt.Sprintf("a%x%x", n, p), from, to)
		for i := range historytest.Actions {
			var above []*actors.Credential
			if i > 0 {
				above = append(above, c.above[p])
			}
			c.all[p][i] = actors.NewCredential([32]byte{c.prefix, byte(p), byte(i)}, issuer, listedSerials[i:i+1], from, to, above...)
			c.good[p][i].Store(true)
		}
	}
	return c
}

func (c *credentials) issuer(p int) [32]byte { return [32]byte{c.prefix, byte(p), 8} }

func (c *credentials) allowed(p int) (a [historytest.Actions]bool) {
	for i := range a {
		a[i] = c.good[p][i].Load()
	}
	return a
}

// ender ends credentials: it returns when nothing runs by them any more, and nothing will.
type ender interface {
	subject
	revoke(ids ...policy.CertificateID)
	list(issuer [32]byte, serial string)
}

// recordCredentials is record, with the ends of credentials as the updates.
func recordCredentials(s ender, c *credentials, seed uint64) *history {
	h := &history{}
	for p := range credentialPrincipals {
		h.Instant(historytest.Event{Kind: historytest.Apply, Principal: p, Revision: 1, Allowed: c.allowed(p)})
	}
	var (
		clients sync.WaitGroup
		updates sync.Mutex
		ends    uint64
	)
	for i := range historytest.Clients {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		clients.Go(func() {
			for range historyOps {
				p, a := rng.IntN(credentialPrincipals), rng.IntN(historytest.Actions)
				switch n := rng.IntN(10); {
				case n < 5:
					h.recordExecute(s, i, p, a, rng.IntN(3) == 0)
				case n < 9:
					h.recordAdmit(s, i, p, a, rng.IntN(4))
				default:
					updates.Lock()
					ends++
					h.recordEnd(s, c, rng, p, a, ends)
					updates.Unlock()
				}
			}
		})
	}
	clients.Wait()
	return h
}

// recordEnd ends a certificate, in one of the ways that there are.
func (h *history) recordEnd(s ender, c *credentials, rng *rand.Rand, p, a int, number uint64) {
	call := h.Now()
	switch rng.IntN(4) {
	case 0:
		c.good[p][a].Store(false)
		s.revoke(c.all[p][a].IDs()[0])
	case 1:
		c.good[p][a].Store(false)
		s.revoke(c.all[p][a].IDs()[1])
	case 2:
		c.good[p][a].Store(false)
		s.list(c.issuer(p), listedSerials[a:a+1])
	case 3:
		c.good[p][1].Store(false)
		c.good[p][2].Store(false)
		s.revoke(c.above[p].IDs()[0])
	}
	ret := h.Now()
	h.Add(historytest.Event{Kind: historytest.Apply, Principal: p, Revision: number + 1, Allowed: c.allowed(p)}, call, ret)
	h.Add(historytest.Event{Kind: historytest.Quiesce, Principal: p, Revision: number + 1}, call, ret)
}

// credentialSubject is the engine.
type credentialSubject struct {
	engineSubject
	of     *credentials
	listed *lists
}

// lists revoke what was added to them, for all histories of an engine.
type lists struct {
	mu   sync.Mutex
	held map[string]bool
}

type listsSnapshot map[string]bool

// Revoked implements [actors.RevocationLists].
func (l listsSnapshot) Revoked(issuer, serial string) bool { return l[serial+"@"+issuer] }

func newCredentialSubject(t *testing.T, e *actors.Engine, n int, listed *lists) *credentialSubject {
	s := &credentialSubject{engineSubject{t: t, engine: e, prefix: fmt.Sprintf("h%d", n)}, newCredentials(n), listed}
	s.request = func(p, a int) actors.Request {
		return actors.Request{Principal: s.principal(p), Credential: s.of.all[p][a], Action: "do:it", Resource: "thing"}
	}
	for p := range credentialPrincipals {
		s.update(policy.GrantRole(policy.Grant{Principal: s.principal(p), Role: "all"}))
	}
	return s
}

func (s *credentialSubject) revoke(ids ...policy.CertificateID) {
	for _, id := range ids {
		s.update(policy.RevokeCertificate(id, ""))
	}
}

func (s *credentialSubject) list(issuer [32]byte, serial string) {
	s.listed.mu.Lock()
	defer s.listed.mu.Unlock()
	s.listed.held[serial+"@"+hex.EncodeToString(issuer[:])] = true
	snapshot := listsSnapshot{}
	for id := range s.listed.held {
		snapshot[id] = true
	}
	if _, err := s.engine.UseRevocationLists(context.Background(), snapshot); err != nil {
		s.t.Errorf("lists: %v", err)
	}
}

// credentialHistories returns the number of seeds.
func credentialHistories() int {
	if actors.Soak() {
		return 10_000
	}
	return 150
}

// TestG2_HistoriesOfCredentials: nothing runs by a certificate that has ended when its end is
// acknowledged, and nothing begins any more; by others everything goes on.
func TestG2_HistoriesOfCredentials(t *testing.T) {
	const each = 50
	for batch := range credentialHistories() / each {
		t.Run(fmt.Sprintf("seeds %d-%d", batch*each, (batch+1)*each-1), func(t *testing.T) {
			t.Parallel()
			e := newEngine(t, actors.Options{}, roleOf(t, "all", permission(policy.Allow, "do:it", "thing")))
			listed := &lists{held: map[string]bool{}}
			for i := range each {
				seed := uint64(batch*each + i)
				s := newCredentialSubject(t, e, i, listed)
				h := recordCredentials(s, s.of, seed)
				if !h.Check(t) {
					t.Fatalf("history of seed %d is illegal:\n%s", seed, h.Dump())
				}
				require.NoError(t, h.MonotonicErr(), "seed %d", seed)
			}
		})
	}
}

// lookBefore is the naive design: whoever takes in the request looks at the certificate, and
// the use runs after that. Its revocation waits for nothing.
type lookBefore struct{ of *credentials }

func (s lookBefore) execute(p, a int, begin, end func()) (bool, uint64) {
	if !s.of.good[p][a].Load() {
		return false, 0
	}
	runtime.Gosched()
	begin()
	end()
	return true, 0
}

func (s lookBefore) admit(p, a int) (func(func()), uint64) {
	if !s.of.good[p][a].Load() {
		return nil, 0
	}
	return func(end func()) { end() }, 0
}

func (s lookBefore) revoke(...policy.CertificateID) {}
func (s lookBefore) list([32]byte, string)          {}
func (s lookBefore) grant(int, int, bool) uint64    { return 0 }
func (s lookBefore) put(bool) uint64                { return 0 }

// TestCheckerCatchesALookBeforeTheTurn: the checker is worth something.
func TestCheckerCatchesALookBeforeTheTurn(t *testing.T) {
	for seed := range uint64(200) {
		c := newCredentials(1)
		if !recordCredentials(lookBefore{c}, c, seed).Check(t) {
			return
		}
	}
	t.Fatal("no history was found illegal")
}
