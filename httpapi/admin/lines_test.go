package admin_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/admin"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
	"github.com/interlock-authz/interlock/httpapi/openapi"
)

const lines = policyfile.LinesMedia

// wideStation has a policy that no buffer on its way takes in whole.
func wideStation(t *testing.T, alter ...func(*admin.Options)) *adminStation {
	t.Helper()
	return (&adminStation{servertest.NewOn(t, widePolicy(t))}).serveAdmin(alter...)
}

func widePolicy(t *testing.T) *policyfile.File {
	t.Helper()
	file := servertest.ReadPolicy(t, "admin-policy.yaml")
	for i := range 5000 {
		file.Grants = append(file.Grants, policy.Grant{
			Principal: who(fmt.Sprintf("wide/%d", i)), Role: "reader", Reason: strings.Repeat("wide ", policy.MaxReason/5),
		})
	}
	return file
}

// export begins to read the policy in lines.
func (s *adminStation) export(c *http.Client) *http.Response {
	s.T.Helper()
	r := s.Request(http.MethodGet, "/v1/policy", "")
	r.Header.Set("Accept", lines)
	got, err := c.Do(r)
	require.NoError(s.T, err)
	s.T.Cleanup(func() { _ = got.Body.Close() })
	require.Equal(s.T, 200, got.StatusCode)
	return got
}

// requireCutOff reads an export that must neither end as if it was whole, nor be whole.
func requireCutOff(t *testing.T, got *http.Response) {
	t.Helper()
	var tally policyfile.LineTally
	_, err := io.Copy(&tally, got.Body)
	require.Error(t, err)
	require.Error(t, tally.Check("export.ndjson"))
}

func (s *adminStation) leases() []actors.LeaseInfo {
	s.T.Helper()
	leases, err := s.Engine.Leases(context.Background(), policy.Principal{})
	require.NoError(s.T, err)
	return leases
}

func TestPolicyIsGivenInLines(t *testing.T) {
	want := widePolicy(t)
	s := wideStation(t)
	for _, speaks := range servertest.Wires {
		got := s.export(s.Client(speaks, s.Issue("spiffe://interlock.test/auditor")))
		require.Equal(t, lines, got.Header.Get("Content-Type"))
		require.Equal(t, etag(s, 1), got.Header.Get("ETag"))
		require.Equal(t, "Accept", got.Header.Get("Vary"))
		text, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		require.True(t, bytes.HasSuffix(text, fmt.Appendf(nil, "\n{\"end\":{\"roles\":%d,\"grants\":%d,\"revision\":1}}\n", len(want.Roles), len(want.Grants))))
		file, err := policyfile.ReadLines("export.ndjson", bytes.NewReader(text))
		require.NoError(t, err)
		require.Empty(t, policyfile.Diff(want.AllRoles(), want.AllGrants(), file))
	}
	s.get("auditor", "/v1/policy?wait=1s", "Accept", lines).RequireProblem(t, 400, "malformed-request")
	s.get("alice", "/v1/policy", "Accept", lines).RequireProblem(t, 403, "denied")
	s.send(s.Client(servertest.HTTP2), s.Request(http.MethodGet, "/v1/policy", "")).RequireProblem(t, 401, "no-identity")
}

func TestHeadTellsTheRevisionOfThePolicy(t *testing.T) {
	s := newAdminStation(t)
	for _, accept := range []string{"application/json", "application/yaml", lines} {
		got := s.sendWith("auditor", http.MethodHead, "/v1/policy", "", "Accept", accept)
		require.Equal(t, 200, got.StatusCode)
		require.Empty(t, got.Text)
		require.Equal(t, etag(s, 1), got.Header.Get("ETag"))
		require.Equal(t, accept, got.Header.Get("Content-Type"))
	}
	require.Equal(t, 403, s.sendWith("alice", http.MethodHead, "/v1/policy", "").StatusCode)
	require.Equal(t, 400, s.sendWith("auditor", http.MethodHead, "/v1/policy?x=y", "").StatusCode)
}

// TestG2_AnExportEndsWithTheRightToIt has a reader that takes nothing on.
func TestG2_AnExportEndsWithTheRightToIt(t *testing.T) {
	for _, speaks := range servertest.Wires {
		s := wideStation(t)
		got := s.export(s.Client(speaks, s.Issue("spiffe://interlock.test/auditor")))
		running := s.leases()
		require.Len(t, running, 1)
		require.Equal(t, "interlock:read", running[0].Action)
		// It delays no other request.
		require.EqualValues(t, 2, s.change("admin", "", grant("bob", "reader")).receipt(t, 200).Revision)
		doc := s.change("admin", "?wait=30s", revoke("auditor", "auditor")).receipt(t, 200)
		require.Len(t, doc.Ended, 1)
		require.Equal(t, "canceled", doc.Ended[0].How)
		requireCutOff(t, got)
	}
}

func TestAStalledReaderIsDropped(t *testing.T) {
	for _, speaks := range servertest.Wires {
		s := wideStation(t, func(o *admin.Options) { o.Idle = 200 * time.Millisecond })
		got := s.export(s.Client(speaks, s.Issue("spiffe://interlock.test/auditor")))
		require.Eventually(t, func() bool { return len(s.leases()) == 0 }, patience, 10*time.Millisecond)
		requireCutOff(t, got)
	}
}

// quickTimeouts are those of a server whose transfers last longer.
func quickTimeouts(o *httpapi.ServerOptions) {
	o.ReadTimeout, o.WriteTimeout = 600*time.Millisecond, 600*time.Millisecond
}

// beyond is how long a transfer has to last to outlive quickTimeouts.
const beyond = 1200 * time.Millisecond

func TestAnExportTakesLongerThanAnAnswerMay(t *testing.T) {
	for _, speaks := range servertest.Wires {
		s := &adminStation{servertest.NewOn(t, widePolicy(t))}
		s.Serve(admin.New(admin.Options{Engine: s.Engine, Identifier: s.Connections}), quickTimeouts)
		s.Describe(openapi.Admin())
		got := s.export(s.Client(speaks, s.Issue("spiffe://interlock.test/auditor")))
		await(t, time.After(beyond))
		var tally policyfile.LineTally
		_, err := io.Copy(&tally, got.Body)
		require.NoError(t, err)
		require.NoError(t, tally.Check("export.ndjson"))
	}
}

// slowly makes of a body one that stops in the middle until it may go on.
func slowly(text string) (body io.ReadCloser, goOn func()) {
	r, w := io.Pipe()
	may := make(chan struct{})
	go func() {
		_, _ = io.WriteString(w, text[:len(text)/2])
		<-may
		_, _ = io.WriteString(w, text[len(text)/2:])
		_ = w.Close()
	}()
	return r, func() { close(may) }
}

func (s *adminStation) putSlowly(c *http.Client, body io.ReadCloser, alter ...func(*http.Request)) <-chan reply {
	s.T.Helper()
	r := s.Request(http.MethodPut, "/v1/policy", "")
	r.Body = body
	r.Header.Set("Content-Type", lines)
	r.Header.Set("If-Match", "*")
	for _, f := range alter {
		f(r)
	}
	answered := make(chan reply, 1)
	go func() {
		got, err := s.Try(c, r)
		if err != nil {
			got = servertest.Reply{Response: &http.Response{Status: err.Error()}}
		}
		answered <- reply{got}
	}()
	return answered
}

func TestAPolicyInLinesTakesLongerThanARequestMay(t *testing.T) {
	for _, speaks := range servertest.Wires {
		s := &adminStation{servertest.New(t, "admin-policy.yaml")}
		s.Serve(admin.New(admin.Options{Engine: s.Engine, Identifier: s.Connections}), quickTimeouts)
		s.Describe(openapi.Admin())
		body, goOn := slowly(string(largePolicy(t, 10, "")))
		answered := s.putSlowly(s.Client(speaks, s.Issue("spiffe://interlock.test/admin")), body)
		await(t, time.After(beyond))
		goOn()
		require.EqualValues(t, 2, await(t, answered).receipt(t, 200).Revision)
	}
}

func TestAPolicyInLinesThatDoesNotComeOnIsRefused(t *testing.T) {
	for _, speaks := range servertest.Wires {
		s := newAdminStation(t, func(o *admin.Options) { o.Idle = 200 * time.Millisecond })
		body, goOn := slowly(string(largePolicy(t, 10, "")))
		defer goOn()
		await(t, s.putSlowly(s.Client(speaks, s.Issue("spiffe://interlock.test/admin")), body)).RequireProblem(t, 408, "request-timeout")
		require.EqualValues(t, 1, s.Engine.Revision())
	}
}

// TestRights_ReadIsCheckedAgain has it lost while the policy comes: the
// answer would tell what the policy says.
//
// SECURITY, line 18.
func TestRights_ReadIsCheckedAgain(t *testing.T) {
	s := newAdminStation(t)
	c := s.Client(servertest.HTTP1, s.Issue("spiffe://interlock.test/reviewer"))
	servertest.TransportOf(c).ExpectContinueTimeout = patience
	began := make(chan struct{})
	body, goOn := slowly(string(largePolicy(t, 10, "")))
	first := io.TeeReader(body, writerFunc(sync.OnceFunc(func() { close(began) })))
	answered := s.putSlowly(c, struct {
		io.Reader
		io.Closer
	}{first, body}, func(r *http.Request) { r.Header.Set("Expect", "100-continue") })
	await(t, began) // the server wants to have it
	s.change("admin", "", revoke("reviewer", "auditor")).receipt(t, 200)
	goOn()
	await(t, answered).RequireProblem(t, 403, "denied")
}

// writerFunc is called at each write.
type writerFunc func()

func (f writerFunc) Write(p []byte) (int, error) { f(); return len(p), nil }

func TestPolicyInLinesIsPutAsOneRevision(t *testing.T) {
	for _, speaks := range servertest.Wires {
		s := newAdminStation(t, func(o *admin.Options) { o.BodyLimit = 100 }) // of other types
		put := func(text []byte, match string) reply {
			r := s.Request(http.MethodPut, "/v1/policy?wait=30s", string(text))
			r.Header.Set("Content-Type", lines)
			if match != "" {
				r.Header.Set("If-Match", match)
			}
			return s.send(s.Client(speaks, s.Issue("spiffe://interlock.test/admin")), r)
		}
		text := largePolicy(t, 1000, "imported")
		put(text, "").RequireProblem(t, 428, "precondition-required")
		put(text, `"other.1"`).RequireProblem(t, 412, "precondition-failed")
		require.EqualValues(t, 2, put(text, etag(s, 1)).receipt(t, 200).Revision)
		require.True(t, s.allowed("ns/4/sa/service-4", "orders:read", "orders/1"))
		require.True(t, put(text, etag(s, 2)).receipt(t, 200).Unchanged)

		exported, err := io.ReadAll(s.export(s.Client(speaks, s.Issue("spiffe://interlock.test/admin"))).Body)
		require.NoError(t, err)
		require.True(t, put(exported, etag(s, 2)).receipt(t, 200).Unchanged, "what was exported says the same")
		require.EqualValues(t, 3, put(largePolicy(t, 0, ""), "*").receipt(t, 200).Revision)
		require.False(t, s.allowed("ns/4/sa/service-4", "orders:read", "orders/1"))
		s.put("admin", "application/yaml", strings.Repeat(" ", 200), "If-Match", "*").RequireProblem(t, 413, "body-too-large")
	}
}

func TestPolicyInLinesThatIsNotWholeChangesNothing(t *testing.T) {
	s := newAdminStation(t)
	text := string(largePolicy(t, 100, ""))
	for _, size := range []int{0, 1, 100, len(text) / 2, len(text) - 2} {
		got := s.put("admin", lines, text[:size], "If-Match", "*")
		doc := got.RequireProblem(t, 422, "syntax")
		require.Contains(t, doc["detail"], "cut off", "%d bytes", size)
	}
	withoutOne := strings.Replace(text, `{"grant":{"principal":"spiffe://interlock.test/ns/7/sa/service-7","role":"base"}}`+"\n", "", 1)
	doc := s.put("admin", lines, withoutOne, "If-Match", "*").RequireProblem(t, 422, "invalid")
	require.Equal(t, "end.grants", places(doc)[0].(map[string]any)["field"])
	require.EqualValues(t, 1, s.Engine.Revision())
}

func TestPolicyInLinesThatIsBadIsRefusedWithWhereItIs(t *testing.T) {
	s := newAdminStation(t)
	bad := `{"role":{"name":"x","permissions":[{"actions":["*a"],"resources":["b"]}]}}
{"grant":{"principal":"nobody","role":"x"}}
{"grant":{"principal":"user:x","role":"nope"}}
{"end":{"roles":1,"grants":2}}
`
	doc := s.put("admin", lines, bad, "If-Match", "*").RequireProblem(t, 422, "unknown-role")
	require.Equal(t, []any{
		map[string]any{"field": "role.permissions[0].actions[0]", "line": 1.0, "column": 48.0},
		map[string]any{"field": "grant.principal", "line": 2.0, "column": 23.0},
		map[string]any{"field": "grant.role", "line": 3.0, "column": 39.0},
	}, places(doc))
	// There is more to come when the answer is clear.
	for _, speaks := range servertest.Wires {
		r := s.Request(http.MethodPut, "/v1/policy", strings.Repeat("{}\n", 2<<20))
		r.Header.Set("Content-Type", lines)
		r.Header.Set("If-Match", "*")
		got := s.send(s.Client(speaks, s.Issue("spiffe://interlock.test/admin")), r)
		require.Len(t, got.RequireProblem(t, 422, "invalid")["errors"], 1000)
	}
	require.EqualValues(t, 1, s.Engine.Revision())
}

func TestPolicyInLinesHasALimitOfItsOwn(t *testing.T) {
	for _, speaks := range servertest.Wires {
		s := newAdminStation(t, func(o *admin.Options) { o.LinesLimit = 1 << 10 })
		text := string(largePolicy(t, 100, ""))
		c := s.Client(speaks, s.Issue("spiffe://interlock.test/admin"))
		announced := s.Request(http.MethodPut, "/v1/policy", text)
		announced.Header.Set("Content-Type", lines)
		announced.Header.Set("If-Match", "*")
		s.send(c, announced).RequireProblem(t, 413, "body-too-large")
		await(t, s.putSlowly(c, io.NopCloser(strings.NewReader(text)))).RequireProblem(t, 413, "body-too-large")
		require.EqualValues(t, 1, s.Engine.Revision())
	}
}

func TestPolicyInLinesThatBreaksOffChangesNothing(t *testing.T) {
	for _, speaks := range servertest.Wires {
		s := newAdminStation(t)
		text := string(largePolicy(t, 100, ""))
		broken, cancel := context.WithCancel(context.Background())
		body, goOn := slowly(text)
		answered := s.putSlowly(s.Client(speaks, s.Issue("spiffe://interlock.test/admin")), body, func(r *http.Request) { *r = *r.WithContext(broken) })
		cancel()
		require.Zero(t, await(t, answered).StatusCode)
		goOn()
		require.EqualValues(t, 1, s.Engine.Revision())
	}
}

// TestAPolicyThatIsSentAgainIsAppliedOnce repeats what a client repeats that did not get an
// answer: by then the If-Match is that of a policy before.
func TestAPolicyThatIsSentAgainIsAppliedOnce(t *testing.T) {
	s := newDurableStation(t, journal.Keep{})
	text, tag := string(largePolicy(t, 50, "")), etag(s.adminStation, s.Engine.Revision())
	put := func(text, key string) reply {
		return s.put("admin", lines, text, "If-Match", tag, "Idempotency-Key", key)
	}
	require.EqualValues(t, 2, put(text, "one").receipt(t, 200).Revision)
	require.EqualValues(t, 2, put(text, "one").receipt(t, 200).Revision)
	put(text, "two").RequireProblem(t, 412, "precondition-failed")
	put(string(largePolicy(t, 51, "")), "one").RequireProblem(t, 422, "key-reused")
	require.EqualValues(t, 2, s.Engine.Revision())

	exported, err := io.ReadAll(s.export(s.As("auditor")).Body)
	require.NoError(t, err)
	require.True(t, s.put("admin", lines, string(exported), "If-Match", "*").receipt(t, 200).Unchanged)
}
