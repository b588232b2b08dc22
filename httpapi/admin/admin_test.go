package admin_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/admin"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/guardtest"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
	"github.com/interlock-authz/interlock/httpapi/openapi"
)

func TestAdminNeedsARightForEverything(t *testing.T) {
	s := newAdminStation(t)
	for _, test := range []struct{ method, path, body string }{
		{http.MethodGet, "/v1/policy", ""},
		{http.MethodPut, "/v1/policy", "{}"},
		{http.MethodGet, "/v1/principals?id=spiffe://interlock.test/helpdesk", ""},
		{http.MethodGet, "/v1/roles/reader", ""},
		{http.MethodGet, "/v1/leases", ""},
		{http.MethodGet, "/v1/changes/1", ""},
		{http.MethodPost, "/v1/changes", `{"changes":[` + grant("bob", "admin") + `]}`},
	} {
		for _, speaks := range servertest.Wires {
			ask := func(c *http.Client) reply {
				r := s.Request(test.method, test.path, test.body)
				r.Header.Set("If-Match", "*")
				r.Header.Set("Content-Type", "application/json")
				return s.send(c, r)
			}
			ask(s.Client(speaks)).RequireProblem(t, 401, "no-identity")
			for _, name := range []string{"stranger", "alice", "editor"} {
				ask(s.Client(speaks, s.Issue("spiffe://interlock.test/"+name))).RequireProblem(t, 403, "denied")
			}
		}
	}
	for _, path := range []string{"/v1/policy", "/v1/principals?id=user:x", "/v1/leases", "/v1/changes/1"} {
		require.Equal(t, 200, s.get("auditor", path).StatusCode, path)
	}
	require.EqualValues(t, 1, s.Engine.Revision())
}

// SECURITY, line 16.
func TestPrivacy_AdminDoesNotRevealRoles(t *testing.T) {
	s := newAdminStation(t)
	for _, role := range []string{"reader", "no-such-role"} {
		got := s.change("alice", "", grant("bob", role)).RequireProblem(t, 403, "denied")
		require.Equal(t, "The policy does not allow this.", got["detail"])
	}
}

func TestG2_AReceiptSaysWhatTheUpdateEnded(t *testing.T) {
	s := newAdminStation(t)
	l := s.admit("alice", "orders:read", "orders/7")
	answered := make(chan reply, 1)
	c := s.As("admin")
	go func() { answered <- s.post(c, "/v1/changes?wait=30s", `{"changes":[`+revoke("alice", "reader")+`]}`) }()
	await(t, l.Context().Done())
	l.Release()
	got := await(t, answered)
	doc := got.receipt(t, 200)
	require.EqualValues(t, 2, doc.Revision)
	require.Equal(t, etag(s, 2), got.Header.Get("ETag"))
	require.Len(t, doc.Ended, 1)
	require.Equal(t, 1, doc.EndedCount)
	ended := doc.Ended[0]
	require.Equal(t, "canceled", ended.How)
	after, err := time.ParseDuration(ended.After)
	require.NoError(t, err)
	require.Less(t, after, patience)
	ended.How, ended.After = "", ""
	require.Equal(t, client.EndedLease{Lease: l.ID(), Principal: "spiffe://interlock.test/alice", Action: "orders:read", Resource: "orders/7"}, ended)
	require.Empty(t, doc.Running)
	require.Contains(t, got.Text, `"running":[]`, "a list, and no null")
	require.Contains(t, got.Text, `"stillGrantedBy":[]`)
}

func etag(s *adminStation, revision uint64) string {
	return fmt.Sprintf(`"%s.%d"`, s.Engine.StoreID(), revision)
}

func TestG2_AReceiptThatIsNotQuiescedIsAskedForAgain(t *testing.T) {
	t.Parallel()
	s := newAdminStation(t)
	l := s.admit("alice", "orders:read", "orders/7")
	doc := s.change("admin", "?wait=0s", revoke("alice", "reader")).receipt(t, 202)
	require.Len(t, doc.Running, 1)
	require.Equal(t, l.ID(), doc.Running[0].Lease)
	require.EqualValues(t, 1, doc.Running[0].Revision)
	require.EqualValues(t, 2, doc.Running[0].Revoked)
	require.Equal(t, 1, doc.RunningCount)
	path := fmt.Sprintf("/v1/changes/%d", doc.Revision)
	require.Len(t, s.get("auditor", path).receipt(t, 202).Running, 1)
	// Later updates of the same principal wait for it as well, whatever they do.
	require.Len(t, s.change("admin", "?wait=0s", grant("alice", "base")).receipt(t, 202).Running, 1)
	require.Empty(t, s.change("admin", "", grant("bob", "base")).receipt(t, 200).Ended)

	answered := make(chan reply, 1)
	c := s.As("auditor")
	go func() { answered <- s.send(c, s.Request(http.MethodGet, path+"?wait=30s", "")) }()
	l.Release()
	require.Len(t, await(t, answered).receipt(t, 200).Ended, 1)
	require.Len(t, s.get("auditor", path).receipt(t, 200).Ended, 1)
	for _, unknown := range []string{"/v1/changes/0", "/v1/changes/9", "/v1/changes/18446744073709551615"} {
		s.get("auditor", unknown).RequireProblem(t, 404, "unknown-revision")
	}
	for _, malformed := range []string{"/v1/changes/x", "/v1/changes/-1", "/v1/changes/2.0", "/v1/changes/18446744073709551616", "/v1/changes/2?wait=2h", "/v1/changes/2?grace=1s"} {
		s.get("auditor", malformed).RequireProblem(t, 400, "malformed-request")
	}
}

func TestReceiptNamesWhatGivesTheRoleAllTheSame(t *testing.T) {
	s := newAdminStation(t)
	s.change("admin", "", grant("team/carol", "base"), grant("alice", "reads-more")).receipt(t, 200)
	doc := s.change("admin", "", revoke("team/carol", "base"), revoke("alice", "reader")).receipt(t, 200)
	require.ElementsMatch(t, []policy.GrantSpec{
		{Principals: "spiffe://interlock.test/team/*", Role: "everyone"},
		{Principal: "spiffe://interlock.test/alice", Role: "reads-more"},
	}, doc.StillGrantedBy)
	require.False(t, doc.Unchanged)
	doc = s.change("admin", "", revoke("alice", "reader")).receipt(t, 200)
	require.True(t, doc.Unchanged, "a name may be misspelt")
	require.True(t, s.change("admin", "", revoke("alcie", "reader")).receipt(t, 200).Unchanged)
	require.False(t, s.change("admin", "", revoke("alice", "reads-more")).receipt(t, 200).Unchanged)
}

func TestG2_GraceLetsAnOperationFinish(t *testing.T) {
	t.Parallel()
	s := newAdminStation(t)
	first, second := s.admit("alice", "orders:read", "orders/1"), s.admit("alice", "orders:read", "orders/2")
	doc := s.change("admin", "?grace=1h&wait=0s", revoke("alice", "reader")).receipt(t, 202)
	require.Len(t, doc.Running, 2)
	require.NoError(t, first.Context().Err())
	require.False(t, s.allowed("alice", "orders:read", "orders/1"), "none starts meanwhile")
	first.Release()
	require.Equal(t, "finished", s.get("auditor", fmt.Sprintf("/v1/changes/%d", doc.Revision)).receipt(t, 202).Ended[0].How)
	s.change("admin", "?wait=0s", revoke("alice", "reader")).receipt(t, 202)
	require.ErrorIs(t, second.Context().Err(), actors.ErrRevoked, "of several graces the shortest")
}

func TestADryRunChangesNothing(t *testing.T) {
	s := newAdminStation(t)
	l := s.admit("alice", "orders:read", "orders/7")
	var doc client.Preview
	got := s.change("admin", "?dry-run=true", revoke("alice", "reader"))
	require.Equal(t, 200, got.StatusCode)
	got.into(t, &doc)
	require.True(t, doc.DryRun)
	require.EqualValues(t, 1, doc.At)
	require.Equal(t, []policy.ChangeSpec{{Op: policy.OpRevoke, Principal: "spiffe://interlock.test/alice", Role: policy.RoleRef{Name: "reader"}}}, doc.Changes)
	require.Len(t, doc.WouldEnd, 1)
	require.Equal(t, l.ID(), doc.WouldEnd[0].Lease)
	require.NoError(t, l.Context().Err())
	require.EqualValues(t, 1, s.Engine.Revision())

	s.change("alice", "?dry-run=true", revoke("alice", "reader")).RequireProblem(t, 403, "denied")
	s.change("admin", "?dry-run=true", revoke("admin", "admin")).RequireProblem(t, 409, "last-administrator")
	s.change("admin", "?dry-run=true", grant("bob", "no-such-role")).RequireProblem(t, 422, "unknown-role")
	s.change("admin", "?dry-run=false", grant("bob", "reader")).receipt(t, 200)
}

func TestIfMatchRejectsStaleTags(t *testing.T) {
	s := newAdminStation(t)
	post := func(tags ...string) reply {
		r := s.Request(http.MethodPost, "/v1/changes", `{"changes":[`+grant("bob", "reader")+`]}`)
		r.Header["If-Match"] = tags
		return s.send(s.As("admin"), r)
	}
	other := newAdminStation(t)
	for _, stale := range [][]string{
		{etag(s, 0)}, {etag(s, 2)}, {etag(other, 1)}, {`"1"`}, {`""`}, {etag(s, 0) + ", " + etag(s, 7)}, {etag(s, 0), etag(s, 7)},
	} {
		post(stale...).RequireProblem(t, 412, "precondition-failed")
	}
	for _, malformed := range []string{"1", `W/"1"`, `"`, "", "x*", etag(s, 1) + ","} {
		post(malformed).RequireProblem(t, 400, "malformed-request")
	}
	require.EqualValues(t, 1, s.Engine.Revision())
	require.EqualValues(t, 2, post(etag(s, 1)).receipt(t, 200).Revision)
	require.EqualValues(t, 3, post(etag(s, 1)+", "+etag(s, 2)).receipt(t, 200).Revision)
	require.EqualValues(t, 4, post("*").receipt(t, 200).Revision)
	post(etag(s, 3)).RequireProblem(t, 412, "precondition-failed")
	r := s.Request(http.MethodPost, "/v1/changes?dry-run=true", `{"changes":[`+grant("bob", "reader")+`]}`)
	r.Header.Set("If-Match", etag(s, 3))
	s.send(s.As("admin"), r).RequireProblem(t, 412, "precondition-failed")
}

// SECURITY, line 11.
func TestBodies_ChangesAreParsedStrictly(t *testing.T) {
	s := newAdminStation(t, func(o *admin.Options) { o.BodyLimit = 8 << 20 })
	c := s.As("admin")
	post := func(body string) reply { return s.post(c, "/v1/changes", body) }
	ok := grant("bob", "reader")
	for _, body := range []string{
		"", "[]", "null", "{}", `{"changes":null}`, `{"changes":[]}`, `{"changes":{}}`, `{"Changes":[` + ok + `]}`, `{"changes":[` + ok + `],"x":1}`,
		`{"changes":[` + ok + `],"changes":[` + ok + `]}`, `{"changes":[` + strings.Replace(ok, `"op"`, `"Op"`, 1) + `]}`,
		`{"changes":[` + strings.Replace(ok, `"op"`, `"role":"admin","op"`, 1) + `]}`, `{"changes":[` + ok + `]}{}`, `{"changes":[` + ok + `],}`,
		`{"changes":[` + strings.Replace(ok, `"op"`, `"until":"x","op"`, 1) + `]}`, `{"changes":["grant"]}`,
		`{"changes":[{"op":"put-role","role":{"name":"new","Permissions":[]}}]}`, `{"changes":[{"op":"put-role","role":{"name":"new","name":"admin"}}]}`,
		`{"changes":[{"op":"put-role","role":7}]}`, nested(70),
		`{"changes":[` + strings.Repeat(ok+",", 10_000) + ok + `]}`,
	} {
		got := post(body)
		require.Equal(t, 400, got.StatusCode, "%.200s %s", body, got.Text)
		got.Problem(t)
	}
	for body, field := range map[string]string{
		`{"op":"give"}`: "changes[0].op", `null`: "changes[0].op", `{"op":"grant","role":"reader"}`: "changes[0].principal",
		`{"op":"grant","principal":"x","role":"reader"}`:                                      "changes[0].principal",
		`{"op":"grant","principal":"user:x","principals":"user:*","role":"reader"}`:           "changes[0].principals",
		`{"op":"grant","principal":"user:x"}`:                                                 "changes[0].role",
		`{"op":"grant","principal":"user:x","role":{"name":"reader"}}`:                        "changes[0].role",
		`{"op":"grant","principal":"user:x","role":"reader","within":["a/*b"]}`:               "changes[0].within[0]",
		`{"op":"grant","principal":"user:x","role":"reader","expires":"tomorrow"}`:            "changes[0].expires",
		`{"op":"revoke","principal":"user:x","role":"reader","expires":"2200-01-01"}`:         "changes[0].expires",
		`{"op":"put-role","role":"reader"}`:                                                   "changes[0].role",
		`{"op":"put-role","role":{"name":"new","permissions":[{"actions":["a"]}]}}`:           "changes[0].role.permissions[0].resources",
		`{"op":"put-role","role":{"name":"new","inherits":["a","a"]}}`:                        "changes[0].role.inherits[1]",
		`{"op":"delete-role","role":"a/b"}`:                                                   "changes[0].role",
		`{"op":"revoke-certificate","sha256":"12"}`:                                           "changes[0].sha256",
		`{"op":"revoke-certificate","serial":"12"}`:                                           "changes[0].issuer",
		`{"op":"unrevoke-certificate","sha256":"` + strings.Repeat("0", 64) + `"}`:            "changes[0].op",
		`{"op":"revoke-certificate","sha256":"` + strings.Repeat("0", 64) + `","serial":"1"}`: "changes[0].sha256",
	} {
		got := post(`{"changes":[` + body + `]}`)
		require.Equal(t, 422, got.StatusCode, body+got.Text)
		require.Equal(t, field, got.Problem(t)["errors"].([]any)[0].(map[string]any)["field"], body)
	}
	require.EqualValues(t, 1, s.Engine.Revision())
	require.Equal(t, 200, post(`{"changes":[`+strings.Repeat(ok+",", 9_999)+ok+`]}`).StatusCode, "the most")
	s.post(c, "/v1/changes", `{"changes":["`+strings.Repeat("x", 9<<20)+`"]}`).RequireProblem(t, 413, "body-too-large")
	s.sendWith("admin", http.MethodPost, "/v1/changes", "{}", "Content-Type", "text/plain").RequireProblem(t, 415, "unsupported-media-type")
}

func TestAdminKnowsEachParameterItIsGiven(t *testing.T) {
	s := newAdminStation(t)
	for _, query := range []string{
		"?dryrun=true", "?dry-run=yes", "?dry-run", "?dry-run=", "?dry-run=true&dry-run=false", "?Dry-Run=true", "?wait=1s;dry-run=true", "?dry-run=%zz",
		"?wait=", "?wait=5", "?wait=-1s", "?wait=61s", "?wait=1s&wait=2s", "?grace", "?grace=2h", "?grace=1", "?x",
	} {
		s.change("admin", query, grant("bob", "reader")).RequireProblem(t, 400, "malformed-request")
	}
	for _, path := range []string{"/v1/policy?x=1", "/v1/leases?x=1", "/v1/principals?id=user:x&x=1", "/v1/principals?id=user:x&id=user:y", "/v1/changes/1?x=1"} {
		s.get("auditor", path).RequireProblem(t, 400, "malformed-request")
	}
	r := s.Request(http.MethodPost, "/v1/changes", `{"changes":[`+grant("bob", "reader")+`]}`)
	r.Header.Set("Idempotency-Key", "a")
	s.send(s.As("admin"), r).RequireProblem(t, 400, "no-keys") // in memory
	require.EqualValues(t, 1, s.Engine.Revision())
}

func TestAdminSaysWhatCannotBe(t *testing.T) {
	s := newAdminStation(t)
	for _, unknown := range []string{grant("bob", "nope"), revoke("bob", "nope"), deleteRole("nope"), putRole("new", "nope")} {
		doc := s.change("admin", "", grant("bob", "reader"), unknown).RequireProblem(t, 422, "unknown-role")
		require.Contains(t, doc["errors"].([]any)[0].(map[string]any)["field"], "changes[1].")
	}
	doc := s.change("admin", "", putRole("a", ""), putRole("b", "a"), putRole("c", "b"), putRole("a", "c")).RequireProblem(t, 422, "cycle")
	for _, role := range []string{"a", "b", "c"} {
		require.Contains(t, doc["detail"], role+" →")
	}
	s.change("admin", "", deleteRole("reader")).RequireProblem(t, 409, "role-in-use")
	s.change("admin", "", revoke("alice", "reader"), deleteRole("reader")).RequireProblem(t, 409, "role-in-use")
	s.change("admin", "", `{"op":"put-role","role":{"name":"x","permissions":[{"actions":["a"],"resources":["b"],"when":"1 +"}]}}`).RequireProblem(t, 422, "condition")
	require.EqualValues(t, 1, s.Engine.Revision(), "all or none")
	s.change("admin", "", revoke("alice", "reader"), deleteRole("reads-more"), deleteRole("reader")).receipt(t, 200)
}

func TestAdminDescribesAPrincipal(t *testing.T) {
	s := newAdminStation(t)
	s.change("admin", "", grant("alice", "reads-more", `,"within":["orders/eu/**"],"expires":"2200-01-01T00:00:00Z","reason":"why"`),
		grant("alice", "operator", `,"expires":"2001-01-01T00:00:00Z"`)).receipt(t, 200)
	var doc struct {
		Principal   string           `json:"principal"`
		Revision    uint64           `json:"revision"`
		Grants      []map[string]any `json:"grants"`
		Roles       []map[string]any `json:"roles"`
		Permissions []map[string]any `json:"permissions"`
	}
	got := s.get("auditor", "/v1/principals?id=spiffe://interlock.test/alice")
	require.Equal(t, etag(s, 2), got.Header.Get("ETag"))
	got.into(t, &doc)
	require.EqualValues(t, 2, doc.Revision)
	require.Len(t, doc.Grants, 3, "the expired one too")
	require.Equal(t, []map[string]any{
		{"name": "reader", "via": []any{"spiffe://interlock.test/alice reader", "spiffe://interlock.test/alice reads-more"}},
		{"name": "reads-more", "via": []any{"spiffe://interlock.test/alice reads-more"}},
	}, doc.Roles)
	require.Equal(t, []map[string]any{
		{"role": "reader", "actions": []any{"orders:read"}, "resources": []any{"orders/**"}},
		{"role": "reader", "actions": []any{"orders:read"}, "resources": []any{"orders/**"}, "within": []any{"orders/eu/**"}, "expires": "2200-01-01T00:00:00Z"},
	}, doc.Permissions)
	s.get("auditor", "/v1/principals?id=spiffe://interlock.test/team/x").into(t, &doc)
	require.Equal(t, []map[string]any{{"principals": "spiffe://interlock.test/team/*", "role": "everyone"}}, doc.Grants)
	require.JSONEq(t, fmt.Sprintf(`{"principal":"user:x","revision":%d,"grants":[],"roles":[],"permissions":[]}`, 2), s.get("auditor", "/v1/principals?id=user:x").Text)
	for _, bad := range []string{"/v1/principals", "/v1/principals?id=", "/v1/principals?id=alice", "/v1/principals?id=spiffe://interlock.test"} {
		s.get("auditor", bad).RequireProblem(t, 422, "malformed")
	}
}

func TestAdminListsWhatIsRunning(t *testing.T) {
	s := newAdminStation(t)
	var doc client.Operations
	require.JSONEq(t, `{"leases":[]}`, s.get("auditor", "/v1/leases").Text)
	a := s.admit("alice", "orders:read", "orders/7")
	b := s.admit("team/x", "orders:list", "orders/8")
	s.get("auditor", "/v1/leases").into(t, &doc)
	require.Len(t, doc.Leases, 2)
	require.ElementsMatch(t, []uint64{a.ID(), b.ID()}, []uint64{doc.Leases[0].Lease, doc.Leases[1].Lease})
	s.get("auditor", "/v1/leases?principal=spiffe://interlock.test/team/x").into(t, &doc)
	require.Len(t, doc.Leases, 1)
	require.WithinDuration(t, time.Now(), doc.Leases[0].Since, time.Minute)
	doc.Leases[0].Since = time.Time{}
	require.Equal(t, client.Operation{Lease: b.ID(), Principal: "spiffe://interlock.test/team/x", Action: "orders:list", Resource: "orders/8", Revision: 1}, doc.Leases[0])
	require.JSONEq(t, `{"leases":[]}`, s.get("auditor", "/v1/leases?principal=user:x").Text)
	s.get("auditor", "/v1/leases?principal=x").RequireProblem(t, 422, "malformed")
}

func TestAdminReportsAnEngineThatIsClosing(t *testing.T) {
	s := newAdminStation(t)
	require.NoError(t, s.Engine.Close(context.Background()))
	s.change("admin", "", grant("bob", "reader")).RequireProblem(t, 503, "closed")
}

// nested is a value of that depth.
func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// TestAnotherIdentifierAdministers: a caller without a certificate changes the policy by its
// rights, and the log names no certificate.
func TestAnotherIdentifierAdministers(t *testing.T) {
	s := newDurableStation(t, journal.Keep{}, func(o *admin.Options) { o.Identifier = guardtest.As("spiffe://interlock.test/admin") })
	s.change("bob", "", grant("carol", "reader")).receipt(t, 200)
	entry := s.feed("?last=1").Changes[0]
	require.Equal(t, "spiffe://interlock.test/admin", entry.Author)
	require.Empty(t, entry.Certificate)
}

func TestTheDocumentNeedsNoCertificate(t *testing.T) {
	s := newAdminStation(t)
	for _, wire := range servertest.Wires {
		got := s.send(s.Client(wire), s.Request(http.MethodGet, openapi.Path, ""))
		require.Equal(t, 200, got.StatusCode)
		require.Equal(t, openapi.Admin().String(), got.Text+"\n")
		require.Equal(t, "nosniff", got.Header.Get("X-Content-Type-Options"))
		s.send(s.Client(wire), s.Request(http.MethodPost, openapi.Path, "")).RequireProblem(t, 405, "method-not-allowed")
	}
}
