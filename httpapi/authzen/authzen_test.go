package authzen_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi/authzen"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

const (
	evaluation  = "/access/v1/evaluation"
	evaluations = "/access/v1/evaluations"
)

// ask is the body of an evaluation; more is put into it at its end.
func ask(subjectType, id, action, resource string, more ...string) string {
	kind, name, _ := strings.Cut(resource, "/")
	return fmt.Sprintf(`{"subject":{"type":%q,"id":%q},"action":{"name":%q},"resource":{"type":%q,"id":%q}%s}`,
		subjectType, id, action, kind, name, strings.Join(more, ""))
}

func newDecisionStation(t testing.TB, alter ...func(*authzen.Options)) *station {
	s := newStation(t, "authzen-policy.yaml")
	return s.serve(s.decisions(alter...))
}

func TestDecisionOverBothProtocols(t *testing.T) {
	s := newDecisionStation(t)
	pep := s.Issue("spiffe://interlock.test/pep")
	for _, speaks := range servertest.Wires {
		t.Run(string(speaks), func(t *testing.T) {
			c := s.Client(speaks, pep)
			yes := s.Post(c, evaluation, ask("user", "erin", "orders:read", "orders/42"))
			require.Equal(t, string(speaks), yes.Proto)
			require.Equal(t, 200, yes.StatusCode)
			require.Equal(t, `{"decision":true}`, yes.Text)
			require.Equal(t, "application/json", yes.Header.Get("Content-Type"))
			no := s.Post(c, evaluation, ask("user", "erin", "orders:write", "orders/42"))
			require.Equal(t, 200, no.StatusCode)
			require.Equal(t, `{"decision":false}`, no.Text)
		})
	}
}

func TestDecisionSeesTheProperties(t *testing.T) {
	s := newDecisionStation(t)
	c := s.As("pep")
	for _, test := range []struct {
		name, body string
		want       bool
	}{
		{"resource and context", `{"subject":{"type":"user","id":"dave"},"action":{"name":"orders:write"},` +
			`"resource":{"type":"orders","id":"1","properties":{"amount":999}},"context":{"source":"desk"}}`, true},
		{"amount", `{"subject":{"type":"user","id":"dave"},"action":{"name":"orders:write"},` +
			`"resource":{"type":"orders","id":"1","properties":{"amount":1000}},"context":{"source":"desk"}}`, false},
		{"context", `{"subject":{"type":"user","id":"dave"},"action":{"name":"orders:write"},` +
			`"resource":{"type":"orders","id":"1","properties":{"amount":999}},"context":{"source":"web"}}`, false},
		{"none", ask("user", "dave", "orders:write", "orders/1"), false},
		{"action and subject", `{"subject":{"type":"user","id":"dave","properties":{"level":3}},` +
			`"action":{"name":"orders:ship","properties":{"fast":true}},"resource":{"type":"orders","id":"1"}}`, true},
		{"subject", `{"subject":{"type":"user","id":"dave","properties":{"level":2}},` +
			`"action":{"name":"orders:ship","properties":{"fast":true}},"resource":{"type":"orders","id":"1"}}`, false},
		{"a resource of several segments", ask("user", "dave", "orders:read", "orders/eu/1"), true},
		{"a deny and an allow", ask("user", "dave", "orders:read", "orders/frozen/1"), false},
		{"a stranger", ask("user", "nobody", "orders:read", "orders/1"), false},
		{"an unknown action", ask("user", "dave", "orders:eat", "orders/1"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := s.Post(c, evaluation, test.body)
			require.Equal(t, 200, got.StatusCode, got.Text)
			require.Equal(t, fmt.Sprintf(`{"decision":%t}`, test.want), got.Text)
		})
	}
}

func TestDecisionSubjects(t *testing.T) {
	s := newDecisionStation(t)
	c := s.As("pep")
	t.Run("principal is the whole identity", func(t *testing.T) {
		require.Equal(t, `{"decision":true}`, s.Post(c, evaluation,
			ask("principal", "spiffe://interlock.test/alice", "orders:read", "orders/1")).Text)
		require.Equal(t, `{"decision":true}`, s.Post(c, evaluation, ask("principal", "user:erin", "orders:read", "orders/1")).Text)
	})
	for _, kind := range []string{"spiffe", "dns", "email", "uri", "sha256", "spki", "cn", "SPIFFE", "Dns"} {
		t.Run("refused "+kind, func(t *testing.T) {
			got := s.Post(c, evaluation, ask(kind, "//interlock.test/alice", "orders:read", "orders/1"))
			require.Equal(t, 400, got.StatusCode)
			require.Contains(t, got.Problem(t)["detail"], "/subject/type")
		})
	}
	for name, body := range map[string]string{
		"type with a colon":    ask("us:er", "erin", "orders:read", "orders/1"),
		"empty type":           ask("", "erin", "orders:read", "orders/1"),
		"empty id":             ask("user", "", "orders:read", "orders/1"),
		"control character":    ask("user", "er\nin", "orders:read", "orders/1"),
		"no principal":         ask("principal", "erin", "orders:read", "orders/1"),
		"SPIFFE not canonical": ask("principal", "spiffe://Interlock.test/alice", "orders:read", "orders/1"),
		"empty action":         ask("user", "erin", "", "orders/1"),
		"resource type":        ask("user", "erin", "orders:read", "or ders/1"),
		"resource id empty":    ask("user", "erin", "orders:read", "orders/"),
		"resource too long":    ask("user", "erin", "orders:read", "orders/"+strings.Repeat("x", 3000)),
		"action too long":      ask("user", "erin", strings.Repeat("x", 300), "orders/1"),
		"subject is null":      `{"subject":null,"action":{"name":"orders:read"},"resource":{"type":"orders","id":"1"}}`,
		"properties a list":    `{"subject":{"type":"user","id":"erin","properties":[]},"action":{"name":"a"},"resource":{"type":"orders","id":"1"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			got := s.Post(c, evaluation, body)
			require.Equal(t, 400, got.StatusCode, got.Text)
			got.Problem(t)
		})
	}
}

// Two IDs are never one resource, and an ID that begins with a slash is one that wildcards match.
func TestDecisionOfAnIDThatBeginsWithASlash(t *testing.T) {
	s := newDecisionStation(t)
	c := s.As("pep")
	for id, resource := range map[string]string{
		"/todos": "route/%2Ftodos", "todos": "route/todos", "%2Ftodos": "route/%252Ftodos", "//todos": "route/%2F/todos",
		"%todos": "route/%25todos", "%25todos": "route/%2525todos", "a/%2F": "route/a/%2F",
	} {
		t.Run(id, func(t *testing.T) {
			spec := policy.RoleSpec{Permissions: []policy.PermissionSpec{{Actions: []string{"routes:read"}, Resources: []string{resource}}}}
			role, err := spec.Role("route-reader")
			require.NoError(t, err)
			_, err = s.Engine.Update(t.Context(), actors.Update{Changes: []policy.Change{
				policy.PutRole(role, ""), policy.GrantRole(policy.Grant{Principal: policy.MustPrincipal("user:erin"), Role: "route-reader"}),
			}})
			require.NoError(t, err)
			for other := range strings.FieldsSeq("/todos todos %2Ftodos //todos %todos %25todos a/%2F") {
				got := s.Post(c, evaluation, ask("user", "erin", "routes:read", "route/"+other))
				require.Equal(t, fmt.Sprintf(`{"decision":%t}`, other == id), got.Text, other)
			}
		})
	}
}

func TestDecisionNeedsTheRightToAskAboutOthers(t *testing.T) {
	s := newDecisionStation(t)
	alice, desk := s.As("alice"), s.As("desk")
	t.Run("about itself", func(t *testing.T) {
		got := s.Post(alice, evaluation, ask("principal", "spiffe://interlock.test/alice", "orders:read", "orders/1"))
		require.Equal(t, `{"decision":true}`, got.Text)
	})
	t.Run("about others", func(t *testing.T) {
		known := s.Post(alice, evaluation, ask("user", "erin", "orders:read", "orders/1"))
		unknown := s.Post(alice, evaluation, ask("user", "nobody", "orders:read", "orders/1"))
		require.Equal(t, 403, known.StatusCode)
		require.Equal(t, 403, unknown.StatusCode)
		first, second := known.Problem(t), unknown.Problem(t)
		delete(first, "instance")
		delete(second, "instance")
		require.Equal(t, first, second, "the answer does not tell who exists")
		require.Equal(t, "urn:interlock:problem:denied", first["type"])
		require.NotContains(t, known.Text, "no-permission")
	})
	t.Run("about one other", func(t *testing.T) {
		require.Equal(t, 200, s.Post(desk, evaluation, ask("user", "dave", "orders:read", "orders/1")).StatusCode)
		require.Equal(t, 403, s.Post(desk, evaluation, ask("user", "erin", "orders:read", "orders/1")).StatusCode)
	})
	t.Run("the ID is one segment", func(t *testing.T) {
		require.Equal(t, 200, s.Post(desk, evaluation, ask("principal", "spiffe://interlock.test/a/b", "x", "y/z")).StatusCode)
		require.Equal(t, 403, s.Post(desk, evaluation, ask("principal", "spiffe://interlock.test/a", "x", "y/z")).StatusCode)
		require.Equal(t, 200, s.Post(s.As("pep"), evaluation, ask("user", "a/b/**", "x", "y/z")).StatusCode, "by principals/*")
	})
	t.Run("in a batch, about all", func(t *testing.T) {
		body := `{"action":{"name":"orders:read"},"resource":{"type":"orders","id":"1"},"evaluations":[` +
			`{"subject":{"type":"user","id":"dave"}},{"subject":{"type":"user","id":"erin"}}]}`
		require.Equal(t, 403, s.Post(desk, evaluations, body).StatusCode)
	})
	t.Run("a stranger", func(t *testing.T) {
		require.Equal(t, 403, s.Post(s.As("stranger"), evaluation, ask("user", "dave", "orders:read", "orders/1")).StatusCode)
	})
}

func TestDecisionExplained(t *testing.T) {
	s := newDecisionStation(t)
	auditor := s.As("auditor")
	got := s.Post(auditor, evaluation+"?explain=true", ask("user", "dave", "orders:read", "orders/1"))
	require.JSONEq(t, fmt.Sprintf(`{"decision":true,"context":{"reason":"allowed","role":"order-reader",
		"permission":"allow [orders:read] on [orders/**]","revision":%d}}`, s.Engine.Revision()), got.Text)
	require.Equal(t, got.Text, s.Post(auditor, evaluation+"?explain=true", ask("user", "dave", "orders:read", "orders/1")).Text)
	got = s.Post(auditor, evaluations+"?explain=true", `{"evaluations":[{}]}`)
	require.JSONEq(t, fmt.Sprintf(`{"evaluations":[{"decision":false,"context":{"reason":"malformed-request","revision":%d}}]}`,
		s.Engine.Revision()), got.Text)

	require.Equal(t, `{"decision":true}`, s.Post(auditor, evaluation+"?explain=false", ask("user", "dave", "orders:read", "orders/1")).Text)
	require.Equal(t, 400, s.Post(auditor, evaluation+"?explain=1", ask("user", "dave", "orders:read", "orders/1")).StatusCode)
	require.Equal(t, 403, s.Post(s.As("pep"), evaluation+"?explain=true", ask("user", "dave", "orders:read", "orders/1")).StatusCode)
}

func TestDecisionMetadataComesFromTheBaseURL(t *testing.T) {
	s := newDecisionStation(t)
	r := s.Request(http.MethodGet, "/.well-known/authzen-configuration", "")
	r.Host = "evil.example.org"
	got := s.Send(s.Client(servertest.HTTP1), r)
	require.Equal(t, 200, got.StatusCode)
	require.JSONEq(t, `{"policy_decision_point":"https://pdp.example.org",
		"access_evaluation_endpoint":"https://pdp.example.org/access/v1/evaluation",
		"access_evaluations_endpoint":"https://pdp.example.org/access/v1/evaluations"}`, got.Text)
}

func TestDecisionBaseURLIsChecked(t *testing.T) {
	for _, base := range []string{"", "pdp.example.org", "http://pdp.example.org", "https://", "https://u@h/", "https://h/?q", "https://h/#f", "://"} {
		_, err := authzen.New(authzen.Options{BaseURL: base})
		require.ErrorIs(t, err, authzen.ErrBaseURL, base)
	}
}

func TestDecisionWithACertificateRevokedOnAKeptConnection(t *testing.T) {
	for _, speaks := range servertest.Wires {
		t.Run(string(speaks), func(t *testing.T) {
			s := newDecisionStation(t)
			cert := s.Issue("spiffe://interlock.test/pep")
			c := s.Client(speaks, cert)
			require.Equal(t, 200, s.Post(c, evaluation, ask("user", "erin", "orders:read", "orders/1")).StatusCode)
			id, err := policy.ByFingerprint(servertest.FingerprintOf(cert))
			require.NoError(t, err)
			_, err = s.Engine.Update(context.Background(), actors.Update{Changes: []policy.Change{policy.RevokeCertificate(id, "lost")}})
			require.NoError(t, err)
			c.CloseIdleConnections() // if it has not seen so far that it is closed
			got := s.Post(c, evaluation, ask("user", "erin", "orders:read", "orders/1"))
			require.Equal(t, 401, got.StatusCode)
			require.Equal(t, "urn:interlock:problem:credential-revoked", got.Problem(t)["type"])
			if speaks == servertest.HTTP1 {
				require.True(t, got.Close)
			}
			require.Equal(t, 401, s.Post(c, evaluation, ask("user", "erin", "orders:read", "orders/1")).StatusCode)
			require.Equal(t, 401, s.Post(c, evaluation, ask("principal", "spiffe://interlock.test/pep", "x", "y/z")).StatusCode, "about itself")
		})
	}
}

func TestDecisionWithACertificateThatExpiresOnAKeptConnection(t *testing.T) {
	s := newDecisionStation(t)
	past := func() time.Time { return time.Now().Add(-2 * time.Second) }
	cert := s.IssueBy(s.Authority, devca.ClientOptions{SPIFFEID: "spiffe://interlock.test/alice", Lifetime: 5 * time.Second, Now: past})
	c := s.Client(servertest.HTTP2, cert)
	about := ask("principal", "spiffe://interlock.test/alice", "orders:read", "orders/1")
	require.Equal(t, 200, s.Post(c, evaluation, about).StatusCode)
	require.Eventually(t, func() bool {
		got, err := s.Try(c, s.Request(http.MethodPost, evaluation, about))
		if err == nil && got.StatusCode != 200 { // just before it is closed
			require.Equal(t, "urn:interlock:problem:credential-expired", got.Problem(t)["type"])
		}
		return err != nil && strings.Contains(err.Error(), "expired certificate")
	}, 10*time.Second, 50*time.Millisecond, "the connection is closed, and a new one does not come to be")
}

func TestDecisionOfAClosedEngineIsNoDecision(t *testing.T) {
	s := newDecisionStation(t)
	c := s.As("pep")
	require.NoError(t, s.Engine.Close(context.Background()))
	got := s.Post(c, evaluation, ask("user", "erin", "orders:read", "orders/1"))
	require.Equal(t, 503, got.StatusCode)
	require.Equal(t, "1", got.Header.Get("Retry-After"))
	require.Equal(t, "urn:interlock:problem:closed", got.Problem(t)["type"])
}

// TestG6_AFencedServerGivesNoDecision asks before, during and after a fence.
func TestG6_AFencedServerGivesNoDecision(t *testing.T) {
	file := servertest.ReadPolicy(t, "authzen-policy.yaml")
	memory, err := oplog.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	require.NoError(t, err)
	log := &servertest.FencedLog{Memory: memory}
	s := &station{servertest.NewWith(t, log)}
	s.serve(s.decisions())
	c := s.As("pep")
	one, several := ask("user", "erin", "orders:read", "orders/42"), asItems("", "orders:read")
	require.Equal(t, `{"decision":true}`, s.Post(c, evaluation, one).Text)
	<-log.Fence()
	s.Post(c, evaluation, one).RequireProblem(t, 503, "fenced")
	s.Post(c, evaluations, several).RequireProblem(t, 503, "fenced")
	log.Unfence()
	require.Equal(t, `{"decision":true}`, s.Post(c, evaluation, one).Text)
}
