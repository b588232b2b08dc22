package admin_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
)

func TestAdminDescribesARole(t *testing.T) {
	s := newAdminStation(t)
	s.change("admin", "", grant("bob", "everyone"), grant("alice", "everyone"), grant("alice", "base")).receipt(t, 200)
	got := s.get("auditor", "/v1/roles/everyone")
	require.Equal(t, 200, got.StatusCode)
	require.Equal(t, etag(s, 2), got.Header.Get("ETag"))
	var role client.Role
	got.into(t, &role)
	require.Equal(t, client.Role{
		RoleSpec: policy.RoleSpec{Name: "everyone", Inherits: []string{"base"}}, Revision: 2,
		Grants: []policy.GrantSpec{
			{Principal: "spiffe://interlock.test/alice", Role: "everyone"},
			{Principal: "spiffe://interlock.test/bob", Role: "everyone"},
			{Principals: "spiffe://interlock.test/team/*", Role: "everyone"},
		},
	}, role)
	require.JSONEq(t, `{"name":"pep","permissions":[{"actions":["interlock:decide"],"resources":["principals/*"]}],"revision":2,"grants":[]}`,
		s.get("auditor", "/v1/roles/pep").Text)
	role = client.Role{}
	s.get("auditor", "/v1/roles/names-admin").into(t, &role)
	require.Len(t, role.Grants, 3, "the expired one too")

	s.get("auditor", "/v1/roles/nonsense").RequireProblem(t, 404, "unknown-role")
	s.get("auditor", "/v1/roles/ns%2Fa:b").RequireProblem(t, 404, "unknown-role")
	s.get("auditor", "/v1/roles/").RequireProblem(t, 404, "not-found")
	s.get("auditor", "/v1/roles/pep?x=1").RequireProblem(t, 400, "malformed-request")
	for _, bad := range []string{"a%20b", "..", "%00"} {
		s.get("auditor", "/v1/roles/"+bad).RequireProblem(t, 422, "malformed")
	}
	for _, name := range []string{"alice", "stranger", "editor"} {
		for _, role := range []string{"pep", "nonsense", "a%20b"} {
			s.get(name, "/v1/roles/"+role).RequireProblem(t, 403, "denied")
		}
	}
	require.EqualValues(t, 2, s.Engine.Revision())
}
