package admin_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// wholePolicy is the policy as text, and its ETag.
func (s *adminStation) wholePolicy(name string) (text, etag string) {
	s.T.Helper()
	got := s.get(name, "/v1/policy", "Accept", "application/yaml")
	require.Equal(s.T, 200, got.StatusCode, got.Text)
	return got.Text + "\n", got.Header.Get("ETag")
}

// TestRights_PutPolicyIsChecked puts as a whole what is refused as changes.
//
// SECURITY, line 18.
func TestRights_PutPolicyIsChecked(t *testing.T) {
	const mallory = "  - principal: spiffe://interlock.test/mallory\n    role: "
	for _, test := range []struct {
		name, who string
		edit      func(string) string
		status    int
	}{
		{"no right to read", "helpdesk", func(p string) string { return p }, 403},
		{"no right at all, and no policy", "stranger", func(string) string { return "nonsense: [" }, 403},
		{"a right to read is none to grant", "auditor", func(p string) string { return p + mallory + "reader\n" }, 403},
		{"a grant of an admin role", "reads-and-grants", func(p string) string { return p + mallory + "admin\n" }, 403},
		{"a grant of something harmless", "reads-and-grants", func(p string) string { return p + mallory + "reader\n" }, 200},
		{"a role that reaches the control plane", "reads-and-grants", func(p string) string {
			return strings.Replace(p, "roles:\n", "roles:\n  new:\n    permissions:\n      - actions: [\"interlock:**\"]\n        resources: [\"**\"]\n", 1)
		}, 403},
		{"without its own deny", "reads-and-grants", func(p string) string {
			return without(p, "  - principal: spiffe://interlock.test/reads-and-grants\n    role: curb\n")
		}, 403},
		{"without an administrator", "admin", func(p string) string {
			return without(p, "  - principal: spiffe://interlock.test/admin\n    role: admin\n")
		}, 409},
		{"an empty policy", "admin", func(string) string { return "{}" }, 409},
		{"an admin role for everybody", "admin", func(p string) string {
			return p + "  - principals: spiffe://interlock.test/*\n    role: admin\n"
		}, 403},
		{"full rights", "admin", func(p string) string { return p + mallory + "admin\n" }, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newAdminStation(t)
			require.Equal(t, 200, s.change("admin", "", grant("reads-and-grants", "grants-all"), grant("reads-and-grants", "changes-all"),
				grant("reads-and-grants", "curb"), grant("reads-and-grants", "auditor")).StatusCode)
			text, etag := s.wholePolicy("admin")
			before := s.Engine.Revision()
			got := s.put(test.who, "application/yaml", test.edit(text), "If-Match", etag)
			require.Equal(t, test.status, got.StatusCode, got.Text)
			require.Equal(t, test.status == 200, s.Engine.Revision() > before)
		})
	}
}

func without(text, part string) string {
	if strings.Count(text, part) != 1 {
		panic(fmt.Sprintf("%q is not once in\n%s", part, text))
	}
	return strings.Replace(text, part, "", 1)
}

// heldLog is a log that holds back what is proposed.
type heldLog struct {
	*oplog.Memory
	arrived chan struct{} // a group
	open    chan struct{} // closed to let it pass
	looked  chan struct{} // a check has read the whole policy
}

func (l *heldLog) Propose(p *oplog.Proposal) error {
	l.arrived <- struct{}{}
	<-l.open
	return l.Memory.Propose(p)
}

func (l *heldLog) View(look func(policy.View)) error {
	defer func() { l.looked <- struct{}{} }()
	return l.Memory.View(look)
}

func newHeldStation(t *testing.T) (*adminStation, *heldLog) {
	t.Helper()
	file := servertest.ReadPolicy(t, "admin-policy.yaml")
	memory, err := oplog.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	require.NoError(t, err)
	log := &heldLog{Memory: memory, arrived: make(chan struct{}, 8), open: make(chan struct{}), looked: make(chan struct{}, 8)}
	return (&adminStation{servertest.NewWith(t, log)}).serveAdmin(), log
}

// update changes the policy as the owner of the engine, who needs no right.
func (s *adminStation) update(changes ...policy.Change) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := s.Engine.Update(context.Background(), actors.Update{Changes: changes})
		done <- err
	}()
	return done
}

// TestRights_AnAuthorLosesRightsWhileItsUpdateWaits has the loss before the
// change in the log, and after it on the wire.
//
// SECURITY, line 18.
func TestRights_AnAuthorLosesRightsWhileItsUpdateWaits(t *testing.T) {
	for name, lose := range map[string]func(fingerprint string) policy.Change{
		"credential-revoked": func(fingerprint string) policy.Change {
			id, err := policy.ByFingerprint(fingerprint)
			require.NoError(t, err)
			return policy.RevokeCertificate(id, "")
		},
		"denied": func(string) policy.Change {
			return policy.RevokeRole(policy.Grant{Principal: who("helpdesk"), Role: "grants-all"})
		},
	} {
		s, log := newHeldStation(t)
		cert := s.Issue("spiffe://interlock.test/helpdesk")
		c := s.Client(servertest.HTTP2, cert)
		require.Equal(t, 403, s.send(c, s.Request(http.MethodGet, "/v1/policy", "")).StatusCode, "it is connected")
		lost := s.update(lose(servertest.FingerprintOf(cert)))
		await(t, log.arrived)
		answered := make(chan reply, 1)
		go func() { answered <- s.post(c, "/v1/changes", `{"changes":[`+grant("bob", "reader")+`]}`) }()
		close(log.open)
		require.NoError(t, await(t, lost))
		got := await(t, answered)
		require.Equal(t, "urn:interlock:problem:"+name, got.Problem(t)["type"])
		require.False(t, s.allowed("bob", "orders:read", "orders/1"))
	}
}

// SECURITY, line 18.
func TestRights_ARevokedCertificateHasNone(t *testing.T) {
	s := newAdminStation(t)
	cert := s.Issue("spiffe://interlock.test/admin")
	c := s.Client(servertest.HTTP2, cert)
	change := `{"changes":[` + grant("bob", "reader") + `,{"op":"revoke-certificate","sha256":"` + servertest.FingerprintOf(cert) + `"}]}`
	require.Equal(t, 200, s.post(c, "/v1/changes", change).StatusCode, "the last thing that it does")
	s.post(c, "/v1/changes", change).RequireProblem(t, 401, "credential-revoked")
	s.post(c, "/v1/changes?dry-run=true", change).RequireProblem(t, 401, "credential-revoked")
	s.send(c, s.Request(http.MethodGet, "/v1/policy", "")).RequireProblem(t, 401, "credential-revoked")
	require.Equal(t, 200, s.get("admin", "/v1/policy").StatusCode, "another certificate of the same administrator")
}

// TestRights_ACRLEndsAnAuthorWhoseUpdateWaits: the change is in the line of the log when
// the list is published, and is looked at after it.
//
// SECURITY, line 18.
func TestRights_ACRLEndsAnAuthorWhoseUpdateWaits(t *testing.T) {
	s, log := newHeldStation(t)
	cert := s.Issue("spiffe://interlock.test/helpdesk")
	c := s.Client(servertest.HTTP2, cert)
	answered := make(chan reply, 1)
	go func() { answered <- s.post(c, "/v1/changes", `{"changes":[`+grant("bob", "reader")+`]}`) }()
	await(t, log.arrived)
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	require.NoError(t, err)
	_, err = s.Engine.UseRevocationLists(t.Context(), revokedSerial(leaf.SerialNumber.Text(16)))
	require.NoError(t, err)
	close(log.open)
	await(t, answered).RequireProblem(t, 401, "credential-revoked")
	require.False(t, s.allowed("bob", "orders:read", "orders/1"))
}

// TestCredentials_ACRLEndsAnAdministrator: also what is being decided in the log.
//
// SECURITY, line 6.
func TestCredentials_ACRLEndsAnAdministrator(t *testing.T) {
	s := newAdminStation(t)
	cert := s.Issue("spiffe://interlock.test/admin")
	c := s.Client(servertest.HTTP2, cert)
	change := `{"changes":[` + grant("bob", "reader") + `]}`
	require.Equal(t, 200, s.Post(c, "/v1/changes", change).StatusCode)
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	require.NoError(t, err)
	_, err = s.Engine.UseRevocationLists(t.Context(), revokedSerial(leaf.SerialNumber.Text(16)))
	require.NoError(t, err)
	before := s.Engine.Revision()
	for _, path := range []string{"/v1/changes", "/v1/changes?dry-run=true"} {
		s.Post(c, path, change).RequireProblem(t, 401, "credential-revoked")
	}
	s.Send(c, s.Request(http.MethodGet, "/v1/policy", "")).RequireProblem(t, 401, "credential-revoked")
	require.Equal(t, before, s.Engine.Revision())
	require.Equal(t, 200, s.get("admin", "/v1/policy").StatusCode, "another certificate of the same administrator")
}

// revokedSerial is a list that revokes one certificate, of any authority.
type revokedSerial string

func (r revokedSerial) Revoked(_, serial string) bool { return serial == string(r) }
