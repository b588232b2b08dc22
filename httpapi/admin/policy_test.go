package admin_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/httpapi/admin"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

func TestPolicyIsGivenAsTheClientAccepts(t *testing.T) {
	s := newAdminStation(t)
	want := servertest.ReadPolicy(t, "admin-policy.yaml")
	for accept, media := range map[string]string{
		"": "application/json", "*/*": "application/json", "application/json": "application/json", "text/html": "application/json",
		"application/yaml": "application/yaml", "text/yaml": "application/yaml", "application/x-yaml, application/json": "application/yaml",
		"application/json, application/yaml": "application/json", ";;;": "application/json",
	} {
		got := s.get("auditor", "/v1/policy", "Accept", accept)
		require.Equal(t, 200, got.StatusCode)
		require.Equal(t, media, got.Header.Get("Content-Type"), accept)
		require.Equal(t, etag(s, 1), got.Header.Get("ETag"))
		require.Equal(t, "Accept", got.Header.Get("Vary"))
		file, err := policyfile.Parse("policy."+strings.TrimPrefix(media, "application/"), []byte(got.Text))
		require.NoError(t, err)
		require.Len(t, file.Roles, len(want.Roles))
		require.Len(t, file.Grants, len(want.Grants))
		require.Empty(t, policyfile.Diff(want.AllRoles(), want.AllGrants(), file))
	}
}

func TestPolicyIsPutAsOneRevision(t *testing.T) {
	for _, media := range []string{"application/yaml", "text/yaml", "application/x-yaml", "application/json"} {
		s := newAdminStation(t)
		l := s.admit("alice", "orders:read", "orders/7")
		text, tag := s.wholePolicy("admin")
		text = without(text, "  - principal: spiffe://interlock.test/alice\n    role: reader\n") +
			"  - principal: spiffe://interlock.test/bob\n    role: reader\n"
		text = strings.Replace(text, "roles:\n", "roles:\n  added: {}\n", 1)
		if media == "application/json" {
			file, err := policyfile.Parse("policy.yaml", []byte(text))
			require.NoError(t, err)
			text = string(policyfile.FormatJSON(file.AllRoles(), file.AllGrants()))
		}
		dry := s.sendWith("admin", http.MethodPut, "/v1/policy?dry-run=true", text, "Content-Type", media, "If-Match", tag)
		require.Equal(t, 200, dry.StatusCode, dry.Text)
		require.Contains(t, dry.Text, `"op":"revoke"`)
		require.NoError(t, l.Context().Err())
		answered := make(chan reply, 1)
		r := s.Request(http.MethodPut, "/v1/policy?wait=30s", text)
		r.Header.Set("Content-Type", media)
		r.Header.Set("If-Match", tag)
		c := s.As("admin")
		go func() { answered <- s.send(c, r) }()
		await(t, l.Context().Done())
		l.Release()
		doc := await(t, answered).receipt(t, 200)
		require.EqualValues(t, 2, doc.Revision)
		require.Len(t, doc.Ended, 1)
		require.True(t, s.allowed("bob", "orders:read", "orders/1"))
		require.False(t, s.allowed("alice", "orders:read", "orders/1"))
		now, tag := s.wholePolicy("admin")
		require.Contains(t, now, "  added: {}\n")
		require.Equal(t, etag(s, 2), tag)
		require.True(t, s.put("admin", media, text, "If-Match", tag).receipt(t, 200).Unchanged)
	}
}

func TestPolicyIsPutOnlyUponWhatWasSeen(t *testing.T) {
	s := newAdminStation(t)
	text, tag := s.wholePolicy("admin")
	s.put("admin", "application/yaml", text).RequireProblem(t, 428, "precondition-required")
	s.put("admin", "application/yaml", text, "If-Match", "nonsense").RequireProblem(t, 400, "malformed-request")
	s.change("admin", "", grant("bob", "reader")).receipt(t, 200)
	s.put("admin", "application/yaml", text, "If-Match", tag).RequireProblem(t, 412, "precondition-failed")
	require.True(t, s.allowed("bob", "orders:read", "orders/1"), "a caller undid a change that it had not seen")
	require.EqualValues(t, 2, s.Engine.Revision())
	require.EqualValues(t, 3, s.put("admin", "application/yaml", text, "If-Match", "*").receipt(t, 200).Revision)
	require.False(t, s.allowed("bob", "orders:read", "orders/1"))
}

// TestPolicyThatIsPutIsWhatItSays has an update between the comparison and the log: what
// was computed leads to the policy that was sent from one revision only, with "*" too.
func TestPolicyThatIsPutIsWhatItSays(t *testing.T) {
	s, log := newHeldStation(t)
	text, _ := s.wholePolicy("admin")
	text = strings.Replace(text, "roles:\n", "roles:\n  added: {}\n", 1)
	await(t, log.looked)
	first := s.update(policy.GrantRole(policy.Grant{Principal: who("bob"), Role: "reader"}))
	await(t, log.arrived)
	r := s.Request(http.MethodPut, "/v1/policy", text)
	r.Header.Set("Content-Type", "application/yaml")
	r.Header.Set("If-Match", "*")
	put := make(chan reply, 1)
	c := s.As("admin")
	go func() { put <- s.send(c, r) }()
	await(t, log.looked) // for a right
	await(t, log.looked)
	close(log.open)
	require.NoError(t, await(t, first))
	await(t, put).RequireProblem(t, 412, "precondition-failed")
	require.True(t, s.allowed("bob", "orders:read", "orders/1"))
}

func TestPolicyNeverUnrevokesACertificate(t *testing.T) {
	s := newAdminStation(t)
	cert := s.Issue("spiffe://interlock.test/auditor")
	c := s.Client(servertest.HTTP1, cert)
	text, _ := s.wholePolicy("admin")
	s.change("admin", "", `{"op":"revoke-certificate","sha256":"`+strings.ToUpper(servertest.FingerprintOf(cert))+`"}`).receipt(t, 200)
	s.put("admin", "application/yaml", text, "If-Match", "*").receipt(t, 200)
	s.send(c, s.Request(http.MethodGet, "/v1/policy", "")).RequireProblem(t, 401, "credential-revoked")
}

func TestPolicyThatIsBadIsRefusedWithWhereItIs(t *testing.T) {
	s := newAdminStation(t, func(o *admin.Options) { o.BodyLimit = 1 << 20 })
	bad := "roles:\n  x:\n    permissions:\n      - actions: [a*b]\n        resources: [b]\ngrants:\n  - principal: nobody\n    role: x\n  - principal: user:x\n    role: nope\n"
	doc := s.put("admin", "application/yaml", bad, "If-Match", "*").RequireProblem(t, 422, "unknown-role")
	require.Equal(t, []any{
		map[string]any{"field": "roles.x.permissions[0].actions[0]", "line": 4.0, "column": 19.0},
		map[string]any{"field": "grants[0].principal", "line": 7.0, "column": 16.0},
		map[string]any{"field": "grants[1].role", "line": 10.0, "column": 11.0},
	}, places(doc))
	for body, where := range map[string]map[string]any{
		`{"roles":{}`:              {"line": 1.0},
		"{\"roles\":\n {\"x\":7}}": {"line": 2.0, "column": 7.0, "field": "roles.x"},
		"{\"Roles\":{}}":           {"line": 1.0, "column": 2.0, "field": "Roles"},
		`{"roles":{},"roles":{}}`:  {"line": 1.0, "column": 13.0, "field": "roles"},
		`{"roles":{"a":{"inherits":["b"]},"b":{"inherits":["a"]}}}`: {"line": 1.0, "field": "roles.b.inherits[0]"},
	} {
		got := s.put("admin", "application/json", body, "If-Match", "*")
		require.Equal(t, 422, got.StatusCode, got.Text)
		found := places(got.Problem(t))[0].(map[string]any)
		for name, value := range where {
			require.Equal(t, value, found[name], body)
		}
	}
	for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded"} {
		s.put("admin", media, "{}", "If-Match", "*").RequireProblem(t, 415, "unsupported-media-type")
	}
	s.put("admin", "application/json", strings.Repeat(" ", 2<<20), "If-Match", "*").RequireProblem(t, 413, "body-too-large")
	require.EqualValues(t, 1, s.Engine.Revision())
}

// places are the errors of a problem, without their texts.
func places(doc map[string]any) []any {
	faults, _ := doc["errors"].([]any)
	for _, f := range faults {
		delete(f.(map[string]any), "detail")
	}
	return faults
}

func TestCertificateIsRevokedBySerialAndIssuer(t *testing.T) {
	s := newAdminStation(t)
	cert := s.Issue("spiffe://interlock.test/auditor")
	c := s.Client(servertest.HTTP1, cert)
	require.Equal(t, 200, s.send(c, s.Request(http.MethodGet, "/v1/policy", "")).StatusCode)
	s.change("admin", "", revokeBySerial(t, s, cert)).receipt(t, 200)
	s.send(c, s.Request(http.MethodGet, "/v1/policy", "")).RequireProblem(t, 401, "credential-revoked")
	require.Equal(t, 200, s.get("auditor", "/v1/policy").StatusCode)
}

func revokeBySerial(t testing.TB, s *adminStation, cert tls.Certificate) string {
	t.Helper()
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	require.NoError(t, err)
	issuer := sha256.Sum256(s.Authority.Certificate().RawSubjectPublicKeyInfo)
	return fmt.Sprintf(`{"op":"revoke-certificate","serial":"00%X","issuer":"%x"}`, leaf.SerialNumber, issuer)
}

func TestCertificateOfAnUnknownIssuerIsRefused(t *testing.T) {
	known := strings.Repeat("ab", 32)
	s := newAdminStation(t, func(o *admin.Options) { o.Issuers = func() []string { return []string{known} } })
	at := s.Engine.Revision()
	refused := s.change("admin", "", `{"op":"revoke-certificate","serial":"0a","issuer":"`+strings.Repeat("cd", 32)+`"}`)
	require.Equal(t, http.StatusUnprocessableEntity, refused.StatusCode, refused.Text)
	require.Contains(t, refused.Text, "changes[0].issuer")
	require.Equal(t, at, s.Engine.Revision())
	taken := s.change("admin", "", `{"op":"revoke-certificate","serial":"0a","issuer":"`+known+`"}`)
	require.Equal(t, http.StatusOK, taken.StatusCode, taken.Text)
}

func TestPolicyThatSaysTheSameTakesNoRevision(t *testing.T) {
	s := newAdminStation(t)
	before := s.get("admin", "/v1/policy", "Accept", "application/json")
	at := s.Engine.Revision()
	same := s.put("admin", "application/json", before.Text, "If-Match", before.Header.Get("ETag"))
	require.Equal(t, http.StatusOK, same.StatusCode, same.Text)
	require.Contains(t, same.Text, `"unchanged":true`)
	require.Equal(t, at, s.Engine.Revision())
}
