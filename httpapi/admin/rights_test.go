package admin_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	harmless = [3]string{"allow", "orders:read", "orders/**"}
	control  = [3]string{"allow", "interlock:*", "**"}
	full     = [3]string{"allow", "interlock:**", "**"}
	reads    = [3]string{"allow", "interlock:read", "policy"}
	denies   = [3]string{"deny", "interlock:**", "**"}
	decides  = [3]string{"allow", "interlock:decide", "principals/*"}
	own      = [3]string{"allow", "interlock:grant interlock:change", "roles/admin2"} // of names-admin
)

// attempt is a request of an author and the problem that answers it; empty if it is allowed.
type attempt struct {
	name    string
	who     string
	changes []string
	refused string
}

func list(changes ...string) []string { return changes }

// try makes each attempt. What is allowed has a policy of its own, and what is refused leaves no
// trace.
func try(t *testing.T, attempts []attempt) {
	untouched := newAdminStation(t)
	statuses := map[string]int{"denied": 403, "needs-full-rights": 403, "exact-principals-only": 403, "last-administrator": 409, "loses-full-rights": 409, "unknown-role": 422}
	for _, a := range attempts {
		t.Run(a.name, func(t *testing.T) {
			s := untouched
			if a.refused == "" {
				s = newAdminStation(t)
			}
			before := s.Engine.Revision()
			for _, query := range []string{"?dry-run=true", ""} {
				got := s.change(a.who, query, a.changes...)
				if a.refused == "" {
					require.Equal(t, 200, got.StatusCode, got.Text)
					continue
				}
				got.RequireProblem(t, statuses[a.refused], a.refused)
			}
			if a.refused != "" {
				require.Equal(t, before, s.Engine.Revision())
			}
		})
	}
}

// SECURITY, line 18.
func TestRights_GrantsNeedTheRight(t *testing.T) {
	try(t, []attempt{
		{"a stranger", "stranger", list(grant("stranger", "reader")), "denied"},
		{"an author with other rights", "alice", list(grant("alice", "admin")), "denied"},
		{"a reader of the policy", "auditor", list(revoke("alice", "reader")), "denied"},
		{"the help desk grants what is harmless", "helpdesk", list(grant("bob", "reader"), revoke("alice", "reader")), ""},
		{"the help desk to itself", "helpdesk", list(grant("helpdesk", "admin")), "needs-full-rights"},
		{"the help desk to another", "helpdesk", list(grant("mallory", "admin")), "needs-full-rights"},
		{"the help desk grants what inherits it", "helpdesk", list(grant("helpdesk", "admin-by-inheritance")), "needs-full-rights"},
		{"the help desk grants a right to read", "helpdesk", list(grant("helpdesk", "auditor")), "needs-full-rights"},
		{"the help desk grants a right to decide", "helpdesk", list(grant("helpdesk", "pep")), "needs-full-rights"},
		{"the help desk grants a right to operate", "helpdesk", list(grant("helpdesk", "operator")), "needs-full-rights"},
		{"the help desk grants what it has itself", "helpdesk", list(grant("mallory", "grants-all")), "needs-full-rights"},
		{"the help desk denies others", "helpdesk", list(grant("admin", "locks")), "needs-full-rights"},
		{"the help desk denies everybody", "helpdesk", list(grantAll("locks")), "needs-full-rights"},
		{"the help desk puts a role", "helpdesk", list(putRole("new", "", harmless)), "denied"},
		{"the help desk revokes a certificate", "helpdesk", list(`{"op":"revoke-certificate","sha256":"` + fmt.Sprintf("%064d", 1) + `"}`), "denied"},
		{"one allowed change with one that is not", "helpdesk", list(grant("bob", "reader"), putRole("new", "", harmless)), "denied"},
		{"a right to change is none to grant", "editor", list(grant("bob", "reader")), "denied"},
		{"a right to change is none to inherit", "editor", list(putRole("new", "reader")), "denied"},
		{"a right to change roles is none on certificates", "editor", list(`{"op":"revoke-certificate","sha256":"` + fmt.Sprintf("%064d", 1) + `"}`), "denied"},
	})
}

// SECURITY, line 18.
func TestRights_RolesNeedTheRight(t *testing.T) {
	star, rest := [3]string{"allow", "*", "*"}, [3]string{"allow", "**", "**"}
	try(t, []attempt{
		{"a harmless role", "all-but-admin", list(putRole("new", "", harmless)), ""},
		{"the wildcards of other actions", "all-but-admin", list(putRole("new", "", star, rest), grant("all-but-admin", "new")), ""},
		{"interlock:*", "all-but-admin", list(putRole("new", "", control)), "needs-full-rights"},
		{"interlock:**", "all-but-admin", list(putRole("new", "", full)), "needs-full-rights"},
		{"interlock:*:**", "all-but-admin", list(putRole("new", "", [3]string{"allow", "interlock:*:**", "**"})), "needs-full-rights"},
		{"a name that begins so", "all-but-admin", list(putRole("new", "", [3]string{"allow", "interlock:new", "x"})), "needs-full-rights"},
		{"a right to read only", "all-but-admin", list(putRole("new", "", reads)), "needs-full-rights"},
		{"with something harmless", "all-but-admin", list(putRole("new", "", harmless, [3]string{"allow", "orders:x interlock:grant", "roles/new"})), "needs-full-rights"},
		{"a deny", "all-but-admin", list(putRole("new", "", denies)), "needs-full-rights"},
		{"inherits what it may not grant", "all-but-admin", list(putRole("new", "admin")), "denied"},
		{"inherits what inherits that", "all-but-admin", list(putRole("new", "admin-by-inheritance")), "needs-full-rights"},
		{"inherits it by a new role", "all-but-admin", list(putRole("a", "admin-by-inheritance"), putRole("b", "a")), "needs-full-rights"},
		{"one segment is not all", "one-segment", list(putRole("new", "", control)), "needs-full-rights"},
		{"one segment grants", "one-segment", list(grant("one-segment", "admin")), "needs-full-rights"},
		{"one segment, harmless", "one-segment", list(putRole("new", "base", harmless), grant("bob", "new")), ""},
		{"its own role", "all-but-admin", list(putRole("all-but-admin", "", full)), "needs-full-rights"},
		{"full rights", "admin", list(putRole("new", "admin", full), grant("bob", "new")), ""},
	})
}

// SECURITY, line 18.
func TestRights_TwoChangesDoNoMoreThanOne(t *testing.T) {
	try(t, []attempt{
		{"a role, its grant, and then more in it", "all-but-admin",
			list(putRole("new", "", harmless), grant("mallory", "new"), putRole("new", "", full)), "needs-full-rights"},
		{"more in it and then less", "all-but-admin",
			list(putRole("new", "", full), grant("mallory", "new"), putRole("new", "", harmless)), "needs-full-rights"},
		{"a role that inherits one that comes to it later", "all-but-admin",
			list(putRole("child", ""), putRole("parent", "child"), grant("mallory", "parent"), putRole("child", "admin-by-inheritance")), "needs-full-rights"},
		{"a right that the list itself gives", "helpdesk", list(grant("helpdesk", "changes-all"), putRole("new", "", harmless)), "denied"},
		{"a right that a role of the list gives", "editor", list(putRole("desk", "grants-all"), grant("editor", "desk")), "denied"},
		{"revoke and grant", "all-but-admin", list(revoke("admin", "admin"), grant("all-but-admin", "admin")), "denied"},
		{"empty the role, inherit it, fill it", "all-but-admin",
			list(putRole("admin-by-inheritance", ""), putRole("new", "admin-by-inheritance"), putRole("admin-by-inheritance", "admin")), "denied"},
		{"delete and put", "all-but-admin", list(deleteRole("operator"), putRole("operator", "", full)), "needs-full-rights"},
		{"delete and put a copy", "all-but-admin",
			list(deleteRole("operator"), putRole("operator", "", [3]string{"allow", "interlock:operate", "**"}), grant("mallory", "operator")), "needs-full-rights"},
	})
}

// TestRights_ADenyProtectsItself is about authors whose deny stands in a
// role of its own: without it they would have full rights.
//
// SECURITY, line 18.
func TestRights_ADenyProtectsItself(t *testing.T) {
	try(t, []attempt{
		{"with an allow of all", "curbed", list(grant("mallory", "admin")), "denied"},
		{"puts the role with the deny", "curbed", list(putRole("curb", "")), "needs-full-rights"},
		{"narrows the deny", "curbed", list(putRole("curb", "", [3]string{"deny", "interlock:*", "roles/other"})), "needs-full-rights"},
		{"revokes it", "curbed", list(revoke("curbed", "curb")), "needs-full-rights"},
		{"lets it expire", "curbed", list(grant("curbed", "curb", `,"expires":"2001-01-01T00:00:00Z"`)), "needs-full-rights"},
		{"revokes, deletes, and takes all", "curbed", list(revoke("curbed", "curb"), deleteRole("curb"), grant("curbed", "admin")), "denied"},
		{"empties it and revokes it", "curbed", list(putRole("curb", ""), revoke("curbed", "curb")), "needs-full-rights"},
		{"revokes what inherits it", "curbed-by-base", list(revoke("curbed-by-base", "curbed-base")), "needs-full-rights"},
		{"does not inherit it any more", "curbed-by-base", list(putRole("curbed-base", "", harmless)), "needs-full-rights"},
		{"inherits something else", "curbed-by-base", list(putRole("curbed-base", "base")), "needs-full-rights"},
		{"strips the role of others", "editor", list(putRole("admin", "", harmless)), "needs-full-rights"},
		{"full rights may", "admin", list(revoke("curbed", "curb"), putRole("curbed-base", "base"), putRole("curb", "")), ""},
	})
}

// SECURITY, line 18.
func TestRights_APermissionThatNamesTheRole(t *testing.T) {
	try(t, []attempt{
		{"grants it", "desk", list(grant("bob", "pep"), grant("bob", "operator"), revoke("bob", "pep")), ""},
		{"grants another", "desk", list(grant("bob", "auditor")), "denied"},
		{"inherits it", "desk", list(putRole("new", "pep")), ""},
		{"puts one that it names", "desk", list(putRole("desk", "", decides)), ""},
		{"puts another", "desk", list(putRole("new", "", reads)), "needs-full-rights"},
		{"a right to grant is none to widen", "desk", list(putRole("pep", "", full)), "needs-full-rights"},
		{"grants, and puts a new one", "names-admin", list(putRole("admin2", "", own), grant("bob", "admin2")), ""},
		{"and no other", "names-admin", list(putRole("admin3", "admin")), "denied"},
		{"by a grant within other roles", "names-narrowed", list(grant("mallory", "admin")), "needs-full-rights"},
		{"puts by a grant within other roles", "names-narrowed", list(putRole("admin2", "", full)), "needs-full-rights"},
		{"by a grant that has expired", "names-expired", list(grant("mallory", "admin")), "needs-full-rights"},
		{"with a condition", "names-at-times", list(grant("mallory", "admin")), "needs-full-rights"},
		{"in another case", "names-admin", list(putRole("Admin2", "", full)), "denied"},
	})
}

// SECURITY, line 27.
func TestRights_AnAuthorGivesWhatItHas(t *testing.T) {
	try(t, []attempt{
		{"all, to itself, and removes the administrator", "names-admin",
			list(putRole("admin2", "", full), grant("names-admin", "admin2"), revoke("admin", "admin")), "needs-full-rights"},
		{"puts what it does not have", "names-admin", list(putRole("admin2", "", reads)), "needs-full-rights"},
		{"puts more than it has", "names-admin", list(putRole("admin2", "", [3]string{"allow", "interlock:grant", "roles/*"})), "needs-full-rights"},
		{"puts more actions than it has", "names-admin", list(putRole("admin2", "", [3]string{"allow", "interlock:*", "roles/admin2"})), "needs-full-rights"},
		{"part of what it has", "names-admin", list(putRole("admin2", "", [3]string{"allow", "interlock:grant", "roles/admin"})), ""},
		{"beside what it does not have", "names-admin", list(putRole("admin2", "", own, reads)), "needs-full-rights"},
		{"in one permission with what it does not have", "names-admin", list(putRole("admin2", "", [3]string{"allow", "interlock:grant", "roles/admin2 roles/x"})), "needs-full-rights"},
		{"grants what it does not have", "names-admin", list(grant("bob", "admin")), "needs-full-rights"},
		{"grants it within something", "names-admin", list(grant("bob", "admin", `,"within":["nothing"]`)), "needs-full-rights"},
		{"grants it, and then puts it", "names-admin", list(putRole("admin2", ""), grant("bob", "admin2"), putRole("admin2", "", full)), "needs-full-rights"},
		{"inherits what it does not have", "names-admin", list(putRole("admin2", "admin")), "needs-full-rights"},
		{"revokes what it does not have", "names-admin", list(grant("bob", "admin2"), revoke("alice", "admin2")), "unknown-role"},
		{"denies what it does not have", "names-admin", list(putRole("admin2", "", denies)), ""},
		{"takes back a deny that is new", "names-admin", list(putRole("admin2", "", denies), putRole("admin2", "", own)), ""},
		{"has it with a deny", "storeless", list(putRole("desk", "", [3]string{"allow", "interlock:operate", "store"})), "needs-full-rights"},
		{"has it without", "storeless", list(putRole("desk", "", [3]string{"allow", "interlock:operate", "other"})), ""},
	})
}

// SECURITY, line 17.
func TestRights_FullRightsHaveNoLimits(t *testing.T) {
	var attempts []attempt
	for _, limited := range []string{"narrowed", "for-now", "at-times", "all-but-admin", "curbed", "one-segment"} {
		attempts = append(attempts, attempt{limited, limited, list(putRole("new", "", full)), "needs-full-rights"})
	}
	attempts = append(attempts,
		attempt{"its other rights count", "for-now", list(putRole("new", "", harmless), grant("bob", "new")), ""},
		attempt{"a condition on the time counts at that time", "at-times", list(putRole("new", "", harmless)), ""},
		attempt{"a condition on a time that is over", "too-late", list(putRole("new", "", harmless)), "denied"},
		attempt{"a deny since a time", "stopped", list(putRole("new", "", harmless)), "denied"},
		attempt{"a grant that has expired", "expired", list(putRole("new", "", harmless)), "denied"},
	)
	try(t, attempts)
}

// SECURITY, line 17.
func TestRights_OnePrincipalKeepsFullRights(t *testing.T) {
	second := grant("second", "admin")
	try(t, []attempt{
		{"revoked", "admin", list(revoke("admin", "admin")), "last-administrator"},
		{"revoked by one who may just grant", "names-admin", list(revoke("admin", "admin")), "last-administrator"},
		{"revoked by itself, with another", "admin", list(second, revoke("admin", "admin")), "loses-full-rights"},
		{"handed to one who is limited", "admin", list(grant("second", "admin", `,"within":["roles/**"]`), revoke("admin", "admin")), "last-administrator"},
		{"handed to one for a time", "admin", list(grant("second", "admin", `,"expires":"2200-01-01T00:00:00Z"`), revoke("admin", "admin")), "last-administrator"},
		{"for a time from now on", "admin", list(grant("admin", "admin", `,"expires":"2200-01-01T00:00:00Z"`)), "last-administrator"},
		{"stripped", "admin", list(putRole("admin", "", harmless)), "last-administrator"},
		{"stripped of the right to grant", "admin", list(putRole("admin", "", [3]string{"allow", "interlock:change", "**"})), "last-administrator"},
		{"in two roles", "admin", list(putRole("admin", "changes-all grants-all")), ""},
		{"narrowed to one segment", "admin", list(putRole("admin", "", [3]string{"allow", "interlock:*", "roles/*"})), "last-administrator"},
		{"denied one role", "admin", list(grant("admin", "curb")), "last-administrator"},
		{"denied something by inheritance", "admin", list(putRole("admin", "curb", full)), "last-administrator"},
		{"everybody denied all", "admin", list(grantAll("locks")), "last-administrator"},
		{"everybody denied one role", "admin", list(grantAll("curb")), "last-administrator"},
		{"everybody denied all, with another", "admin", list(second, grantAll("locks")), "last-administrator"},
		{"a role of everybody that comes to deny", "admin", list(grantAll("base"), putRole("base", "", denies)), "last-administrator"},
		{"a deny that has nothing to do with it", "admin", list(grantAll("desk"), putRole("desk", "", [3]string{"deny", "orders:**", "**"})), ""},
		{"a deny on the policy", "admin", list(grant("admin", "desk"), putRole("desk", "", [3]string{"deny", "interlock:read", "policy"})), ""},
	})
}

// SECURITY, line 18.
func TestRights_AdministrativeRolesNeedExactPrincipals(t *testing.T) {
	var attempts []attempt
	for _, role := range []string{"admin", "admin-by-inheritance", "operator", "grants-all", "changes-all", "one-segment", "all-but-admin"} {
		attempts = append(attempts, attempt{role, "admin", list(grantAll(role)), "exact-principals-only"})
	}
	attempts = append(attempts,
		attempt{"what decides and reads may", "admin", list(grantAll("pep"), grantAll("auditor")), ""},
		attempt{"for one who names it", "desk", list(grantAll("operator")), "exact-principals-only"},
		attempt{"a role of a pattern comes to it", "admin", list(putRole("everyone", "", [3]string{"allow", "interlock:grant", "roles/x"})), "exact-principals-only"},
		attempt{"by a wildcard", "admin", list(putRole("everyone", "", [3]string{"allow", "interlock:*", "policy"})), "exact-principals-only"},
		attempt{"by inheritance", "admin", list(putRole("everyone", "operator")), "exact-principals-only"},
		attempt{"by what it inherits", "admin", list(putRole("base", "operator")), "exact-principals-only"},
		attempt{"by what that comes to", "admin", list(putRole("base", "", control)), "exact-principals-only"},
		attempt{"before it is granted", "admin", list(putRole("new", "admin"), grantAll("new")), "exact-principals-only"},
		attempt{"after it is granted", "admin", list(putRole("new", ""), grantAll("new"), putRole("new", "admin")), "exact-principals-only"},
		attempt{"a narrow pattern", "admin", list(strings.Replace(grantAll("admin"), "/**", "/ops/*", 1)), "exact-principals-only"},
		attempt{"within nothing", "admin", list(strings.Replace(grantAll("admin"), `"role"`, `"within":["nothing"],"role"`, 1)), "exact-principals-only"},
		attempt{"expired", "admin", list(strings.Replace(grantAll("admin"), `"role"`, `"expires":"2001-01-01T00:00:00Z","role"`, 1)), "exact-principals-only"},
	)
	try(t, attempts)
}

// TestRights_RoleNamesHaveOneSpelling has names that could be read as another
// role's in the resource of a right.
//
// SECURITY, line 18.
func TestRights_RoleNamesHaveOneSpelling(t *testing.T) {
	s := newAdminStation(t)
	for _, name := range []string{"%61dmin", "admin%2F", "*", "**", ".", "..", "admin ", "\u00e4dmin", ""} {
		for _, change := range []string{putRole(name, "", full), grant("mallory", name), deleteRole(name)} {
			require.Equal(t, 422, s.change("all-but-admin", "", change).StatusCode, change)
		}
	}
	// Such names are one segment, and not a path to another right.
	for _, name := range []string{"x/../admin", "a/dmin", "/admin", "admin/", "..."} {
		s.change("names-admin", "", putRole(name, "", full)).RequireProblem(t, 403, "denied")
		s.change("all-but-admin", "", putRole(name, "", full)).RequireProblem(t, 403, "needs-full-rights")
	}
}
