package admin_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/admin"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
	"github.com/interlock-authz/interlock/httpapi/openapi"
)

// adminStation is a station that serves the admin API.
type adminStation struct{ *servertest.Server }

func newAdminStation(t testing.TB, alter ...func(*admin.Options)) *adminStation {
	t.Helper()
	return (&adminStation{servertest.New(t, "admin-policy.yaml")}).serveAdmin(alter...)
}

func (s *adminStation) serveAdmin(alter ...func(*admin.Options)) *adminStation {
	s.T.Helper()
	o := admin.Options{Engine: s.Engine, Identifier: s.Connections, Logger: s.Log.Logger()}
	for _, f := range alter {
		f(&o)
	}
	s.Serve(admin.New(o))
	s.Describe(openapi.Admin())
	return s
}

// reply is an answer with the helpers of this package.
type reply struct{ servertest.Reply }

func (s *adminStation) send(c *http.Client, r *http.Request) reply {
	s.T.Helper()
	return reply{s.Send(c, r)}
}

func (s *adminStation) post(c *http.Client, path, body string) reply {
	s.T.Helper()
	return reply{s.Post(c, path, body)}
}

// change posts changes as a caller; the query may be empty.
func (s *adminStation) change(name, query string, changes ...string) reply {
	s.T.Helper()
	return s.post(s.As(name), "/v1/changes"+query, `{"changes":[`+strings.Join(changes, ",")+`]}`)
}

func (s *adminStation) get(name, path string, headers ...string) reply {
	s.T.Helper()
	return s.sendWith(name, http.MethodGet, path, "", headers...)
}

// put replaces the policy; headers are names and values.
func (s *adminStation) put(name, media, text string, headers ...string) reply {
	s.T.Helper()
	return s.sendWith(name, http.MethodPut, "/v1/policy", text, append(headers, "Content-Type", media)...)
}

func (s *adminStation) sendWith(name, method, path, body string, headers ...string) reply {
	s.T.Helper()
	r := s.Request(method, path, body)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return s.send(s.As(name), r)
}

// into reads a body of JSON, all members of which the target has to know.
func (r reply) into(t testing.TB, target any) {
	t.Helper()
	require.Equal(t, "application/json", r.Header.Get("Content-Type"), r.Text)
	require.NoError(t, json.Unmarshal([]byte(r.Text), target, json.RejectUnknownMembers(true)), r.Text)
}

func (r reply) receipt(t testing.TB, status int) (doc client.Receipt) {
	t.Helper()
	require.Equal(t, status, r.StatusCode, r.Text)
	r.into(t, &doc)
	require.Equal(t, status == 200, doc.Quiesced)
	return doc
}

// admit begins an operation of a principal.
func (s *adminStation) admit(name, action, resource string) *actors.Lease {
	s.T.Helper()
	l, err := s.Engine.Admit(context.Background(), actors.Request{Principal: who(name), Action: action, Resource: resource})
	require.NoError(s.T, err)
	s.T.Cleanup(l.Release)
	return l
}

func (s *adminStation) allowed(name, action, resource string) bool {
	s.T.Helper()
	d, err := s.Engine.Decide(context.Background(), actors.Request{Principal: who(name), Action: action, Resource: resource})
	require.NoError(s.T, err)
	return d.Allowed
}

// Changes as the API takes them.
func grant(name, role string, more ...string) string {
	return `{"op":"grant","principal":"spiffe://interlock.test/` + name + `","role":"` + role + `"` + strings.Join(more, "") + `}`
}

func grantAll(role string) string {
	return `{"op":"grant","principals":"spiffe://interlock.test/**","role":"` + role + `"}`
}

func revoke(name, role string) string {
	return strings.Replace(grant(name, role), "grant", "revoke", 1)
}

// putRole writes a role; of each permission the effect, the actions and the resources.
func putRole(name, inherits string, permissions ...[3]string) string {
	role := policy.RoleSpec{Name: name, Inherits: strings.Fields(inherits)}
	for _, p := range permissions {
		role.Permissions = append(role.Permissions, policy.PermissionSpec{
			Effect: p[0], Actions: strings.Fields(p[1]), Resources: strings.Fields(p[2]),
		})
	}
	text, err := json.Marshal(role)
	if err != nil {
		panic(err)
	}
	return `{"op":"put-role","role":` + string(text) + `}`
}

func deleteRole(name string) string { return `{"op":"delete-role","role":"` + name + `"}` }

// patience bounds the wait for an event that has to come.
const patience = 10 * time.Second

// await receives a value that has to come.
func await[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		require.Fail(t, "nothing came")
		panic("unreachable")
	}
}

func who(name string) policy.Principal {
	return policy.MustPrincipal("spiffe://interlock.test/" + name)
}
