package admin_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/admin"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// countedBody counts what is read of it.
type countedBody struct{ read atomic.Int64 }

func (b *countedBody) Read(p []byte) (int, error) {
	b.read.Add(int64(len(p)))
	return len(p), nil
}

// SECURITY, line 23.
func TestLimits_WhoMayChangeNothingIsRefusedBeforeItsBodyIsRead(t *testing.T) {
	s := newAdminStation(t)
	for _, wire := range servertest.Wires {
		for _, name := range []string{"stranger", "alice", "auditor", "expired"} {
			c := s.Client(wire, s.Issue("spiffe://interlock.test/"+name))
			servertest.TransportOf(c).ExpectContinueTimeout = time.Minute
			for _, to := range []string{"POST /v1/changes", "PUT /v1/policy"} {
				method, path, _ := strings.Cut(to, " ")
				body := &countedBody{}
				r := s.Request(method, path, "")
				r.Body, r.ContentLength = io.NopCloser(body), 32<<20
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Expect", "100-continue")
				r.Header.Set("If-Match", "*")
				s.send(c, r).RequireProblem(t, 403, "denied")
				require.Zero(t, body.read.Load(), "%s by %s, %s", to, name, wire)
			}
		}
	}
}

// openBody sends a request whose body does not end until the pipe is closed.
func (s *adminStation) openBody(name string) (body *io.PipeWriter, answered <-chan reply) {
	read, write := io.Pipe()
	r := s.Request(http.MethodPost, "/v1/changes", "")
	r.Body, r.ContentLength = read, -1
	r.Header.Set("Content-Type", "application/json")
	got := make(chan reply, 1)
	go func() { got <- s.send(s.Client(servertest.HTTP2, s.Issue("spiffe://interlock.test/"+name)), r) }() // HTTP/1.1 can lose an early answer
	return write, got
}

// SECURITY, line 25.
func TestLimits_LargeBodiesAreFewAtOnce(t *testing.T) {
	s := newAdminStation(t)
	isBusy := func(name string) bool {
		body, answered := s.openBody(name)
		require.NoError(t, body.Close())
		got := await(t, answered)
		if got.StatusCode == 503 {
			got.RequireProblem(t, 503, "busy")
			require.Equal(t, "1", got.Header.Get("Retry-After"))
			return true
		}
		require.Equal(t, 400, got.StatusCode, "the body is empty")
		return false
	}
	busy := func(name string) func() bool { return func() bool { return isBusy(name) } }
	require.False(t, isBusy("admin"))
	one, first := s.openBody("admin")
	two, second := s.openBody("admin")
	require.Eventually(t, busy("admin"), patience, time.Millisecond)
	require.False(t, isBusy("helpdesk"), "the bound for each is less than that in all")
	require.Equal(t, 200, s.change("admin", "", grant("bob", "reader")).StatusCode, "a small body needs no place")
	three, third := s.openBody("helpdesk")
	four, fourth := s.openBody("helpdesk")
	require.Eventually(t, busy("editor"), patience, time.Millisecond)
	for _, end := range []*io.PipeWriter{one, two, three, four} {
		require.NoError(t, end.Close())
	}
	for _, answered := range []<-chan reply{first, second, third, fourth} {
		require.Equal(t, 400, await(t, answered).StatusCode)
	}
	require.False(t, isBusy("admin"), "the places are free again")
}

// SECURITY, line 29.
func TestG2_AReaderOfAReceiptLosesItsRight(t *testing.T) {
	s := newAdminStation(t)
	lease := s.admit("alice", "orders:read", "orders/1")
	_, err := s.Engine.Update(waited(t, 200*time.Millisecond), actors.Update{Changes: []policy.Change{
		policy.RevokeRole(policy.Grant{Principal: who("alice"), Role: "reader"})}})
	require.ErrorIs(t, err, actors.ErrNotQuiesced)
	polled := make(chan error, 1)
	r := s.Request(http.MethodGet, fmt.Sprintf("/v1/changes/%d?wait=1m", s.Engine.Revision()), "")
	go func() {
		_, err := s.Try(s.As("auditor"), r)
		polled <- err
	}()
	require.Eventually(t, func() bool {
		leases, err := s.Engine.Leases(t.Context(), who("auditor"))
		return err == nil && len(leases) == 1
	}, patience, time.Millisecond)
	receipt := s.change("admin", "", revoke("auditor", "auditor")).receipt(t, 200)
	require.Equal(t, 1, receipt.EndedCount)
	require.Error(t, await(t, polled), "the answer is aborted")
	lease.Release()
}

// TestG2_AnAuthorThatLosesItsRightsSeesNoLeases is about the wait for the author's own update.
//
// SECURITY, line 29.
func TestG2_AnAuthorThatLosesItsRightsSeesNoLeases(t *testing.T) {
	s := newAdminStation(t)
	lease := s.admit("alice", "orders:read", "orders/1")
	answered := make(chan reply, 1)
	before := s.Engine.Revision()
	go func() { answered <- s.change("helpdesk", "?wait=1m", revoke("alice", "reader")) }()
	require.Eventually(t, func() bool { return s.Engine.Revision() > before }, patience, time.Millisecond)
	require.Equal(t, 200, s.change("admin", "", revoke("helpdesk", "grants-all")).StatusCode)
	lease.Release()
	r := await(t, answered).receipt(t, 200)
	require.Equal(t, 1, r.EndedCount)
	require.Empty(t, r.Ended)
}

func TestAReceiptShowsGrantsToThoseWhoMayReadThem(t *testing.T) {
	s := newAdminStation(t)
	require.Equal(t, 200, s.change("admin", "", grantAll("reader")).StatusCode)
	r := s.change("helpdesk", "", revoke("alice", "reader")).receipt(t, 200)
	require.Empty(t, r.StillGrantedBy)
	require.Equal(t, 1, r.StillGrantedCount)
	seen := s.get("auditor", fmt.Sprintf("/v1/changes/%d", r.Revision)).receipt(t, 200)
	require.Len(t, seen.StillGrantedBy, 1)
	require.Equal(t, 1, seen.StillGrantedCount)
}

func TestAnEmptyListOfLimitsIsNone(t *testing.T) {
	s := newAdminStation(t)
	for _, within := range []string{`[]`, `null`} {
		for _, change := range []string{
			grant("bob", "reader", `,"within":`+within), strings.Replace(grant("alice", "reader", `,"within":`+within), "grant", "revoke", 1),
		} {
			got := s.change("admin", "", change)
			got.RequireProblem(t, 422, "invalid")
			require.Contains(t, got.Text, "changes[0].within")
		}
	}
	require.True(t, s.allowed("alice", "orders:read", "orders/1"))
}

// SECURITY, line 33.
func TestAnswersOfTheAdminAPIAreNotForBrowsers(t *testing.T) {
	s := newAdminStation(t)
	for _, path := range []string{"/v1/policy", "/v1/leases", "/v1/roles/admin", "/v1/principals?id=user:a", "/v1/none"} {
		for _, accept := range []string{"application/json", "application/yaml", "application/x-ndjson"} {
			got := s.get("admin", path, "Accept", accept)
			require.Equal(t, "no-store", got.Header.Get("Cache-Control"), path)
			require.Equal(t, "nosniff", got.Header.Get("X-Content-Type-Options"), path)
		}
	}
	body := `{"changes":[` + grant("bob", "reader") + `]}` // which Request sends as JSON
	for header, value := range map[string]string{"Origin": "https://other.example", "Sec-Fetch-Site": "cross-site"} {
		s.sendWith("admin", http.MethodPost, "/v1/changes", body, header, value).RequireProblem(t, 403, "cross-site")
	}
	require.Equal(t, 200, s.sendWith("admin", http.MethodPost, "/v1/changes", body, "Sec-Fetch-Site", "same-origin").StatusCode)
}

func waited(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// SECURITY, line 31.
func TestLimits_UpdatesOfAnAuthorHaveARate(t *testing.T) {
	s := newAdminStation(t, func(o *admin.Options) { o.UpdateRate = 0.2 }) // two at once
	desk := s.As("helpdesk")
	change := `{"changes":[` + revoke("bob", "reader") + `]}`
	for range 2 {
		require.Equal(t, 200, s.post(desk, "/v1/changes", change).StatusCode)
	}
	got := s.post(desk, "/v1/changes", change)
	got.RequireProblem(t, 429, "too-many-updates")
	require.Equal(t, "1", got.Header.Get("Retry-After"))
	require.Equal(t, 200, s.post(desk, "/v1/changes?dry-run=true", change).StatusCode, "which changes nothing")
	require.Equal(t, 200, s.change("admin", "", revoke("bob", "reader")).StatusCode, "another author")
	unlimited := newAdminStation(t, func(o *admin.Options) { o.UpdateRate = -1 })
	for range 30 {
		require.Equal(t, 200, unlimited.change("admin", "", revoke("bob", "reader")).StatusCode)
	}
}

// SECURITY, line 25.
func TestLimits_FeedsOfACallerAreFew(t *testing.T) {
	s := newDurableStation(t, journal.Keep{})
	const most = 64
	for range most {
		s.live("auditor", "/v1/changes")
	}
	s.get("auditor", "/v1/changes", "Accept", "text/event-stream").RequireProblem(t, 503, "busy")
	require.Equal(t, 200, s.get("auditor", "/v1/changes").StatusCode, "a page is no stream")
	s.live("admin", "/v1/changes")
}

// TestLimits_ARefusedUpdateIsNotQueued has the log blocked: the answer comes all the same.
//
// SECURITY, line 25.
func TestLimits_ARefusedUpdateIsNotQueued(t *testing.T) {
	s, log := newHeldStation(t)
	defer close(log.open)
	held := s.update(policy.GrantRole(policy.Grant{Principal: who("bob"), Role: "reader"}))
	await(t, log.arrived)
	s.change("helpdesk", "", putRole("new", "", harmless)).RequireProblem(t, 403, "denied")
	s.change("stranger", "", grant("bob", "reader")).RequireProblem(t, 403, "denied")
	require.Empty(t, log.arrived)
	require.Empty(t, held)
}

// SECURITY, line 28.
func TestRights_ACAIsRevokedByFullRightsAndOnPurpose(t *testing.T) {
	var s *adminStation
	s = newAdminStation(t, func(o *admin.Options) {
		o.IsCA = func(id policy.CertificateID) bool {
			return s.Connections.IsIssuer(id) || id.SHA256 == strings.Repeat("ab", 32)
		}
	})
	revokeCertificate := func(sha256 string) string { return `{"op":"revoke-certificate","sha256":"` + sha256 + `"}` }
	require.Equal(t, 200, s.change("admin", "", putRole("revoker", "", [3]string{"allow", "interlock:change", "certificates"}), grant("helpdesk", "revoker")).StatusCode)
	own := fmt.Sprintf("%x", sha256.Sum256(s.Authority.Certificate().Raw))
	for _, author := range []string{"admin", "helpdesk"} {
		for _, query := range []string{"", "?force=authority", "?force=full-rights,authority", "?dry-run=true"} {
			s.change(author, query, revokeCertificate(own)).RequireProblem(t, 409, "own-issuer")
		}
	}
	other := strings.Repeat("ab", 32)
	s.change("helpdesk", "", revokeCertificate(other)).RequireProblem(t, 403, "needs-full-rights")
	s.change("helpdesk", "?force=authority", revokeCertificate(other)).RequireProblem(t, 403, "needs-full-rights")
	s.change("admin", "", revokeCertificate(other)).RequireProblem(t, 409, "revokes-ca")
	s.change("admin", "?force=full-rights", revokeCertificate(other)).RequireProblem(t, 409, "revokes-ca")
	s.change("admin", "?force=none", revokeCertificate(other)).RequireProblem(t, 400, "malformed-request")
	require.Equal(t, 200, s.change("admin", "?force=authority", revokeCertificate(other)).StatusCode)
	require.Equal(t, 200, s.change("helpdesk", "", revokeCertificate(strings.Repeat("cd", 32))).StatusCode, "a leaf")
	require.Equal(t, 200, s.get("admin", "/v1/policy").StatusCode, "the administrators still have access")
}

// SECURITY, line 23.
func TestAChainOfInheritanceThatIsTooLongIsRefused(t *testing.T) {
	s := newAdminStation(t)
	chain := func(n int) []string {
		changes := []string{putRole("c0", "")}
		for i := 1; i < n; i++ {
			changes = append(changes, putRole(fmt.Sprint("c", i), fmt.Sprint("c", i-1)))
		}
		return changes
	}
	got := s.change("admin", "", chain(policy.MaxInheritance+1)...)
	got.RequireProblem(t, 422, "invalid")
	require.Contains(t, got.Text, "roles.c100.inherits")
	require.Equal(t, 200, s.change("admin", "", chain(policy.MaxInheritance)...).StatusCode)
	s.change("admin", "", putRole("c100", "c99")).RequireProblem(t, 422, "invalid")
}
