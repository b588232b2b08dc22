package httpapi_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
)

// adminStation is a station that serves the admin API.
type adminStation struct{ *station }

func newAdminStation(t testing.TB, alter ...func(*httpapi.AdminOptions)) *adminStation {
	t.Helper()
	return (&adminStation{newStation(t, "admin-policy.yaml")}).serveAdmin(alter...)
}

func (s *adminStation) serveAdmin(alter ...func(*httpapi.AdminOptions)) *adminStation {
	s.t.Helper()
	o := httpapi.AdminOptions{Engine: s.engine, Callers: s.connections, Logger: s.log.logger()}
	for _, f := range alter {
		f(&o)
	}
	s.serve(httpapi.NewAdminAPI(o))
	return s
}

// change posts changes in somebody's name; the query may be empty.
func (s *adminStation) change(name, query string, changes ...string) reply {
	s.t.Helper()
	return s.post(s.as(name), "/v1/changes"+query, `{"changes":[`+strings.Join(changes, ",")+`]}`)
}

func (s *adminStation) get(name, path string, headers ...string) reply {
	s.t.Helper()
	return s.sendWith(name, http.MethodGet, path, "", headers...)
}

// put replaces the policy; headers are names and values.
func (s *adminStation) put(name, media, text string, headers ...string) reply {
	s.t.Helper()
	return s.sendWith(name, http.MethodPut, "/v1/policy", text, append(headers, "Content-Type", media)...)
}

func (s *adminStation) sendWith(name, method, path, body string, headers ...string) reply {
	s.t.Helper()
	r := s.request(method, path, body)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return s.send(s.as(name), r)
}

// into reads a body of JSON, all members of which the target has to know.
func (r reply) into(t testing.TB, target any) {
	t.Helper()
	require.Equal(t, "application/json", r.Header.Get("Content-Type"), r.body)
	require.NoError(t, json.Unmarshal([]byte(r.body), target, json.RejectUnknownMembers(true)), r.body)
}

// lease is an operation in flight, as documents have it.
type lease struct {
	Lease       uint64 `json:"lease"`
	Principal   string `json:"principal"`
	Action      string `json:"action"`
	Resource    string `json:"resource"`
	Revision    uint64 `json:"revision"`
	Since       string `json:"since"`
	Revoked     uint64 `json:"revoked"`
	Certificate string `json:"certificate"`
	How         string `json:"how"`
	After       string `json:"after"`
}

// receipt is the document that tells what an update came to.
type receipt struct {
	Revision       uint64           `json:"revision"`
	Quiesced       bool             `json:"quiesced"`
	Ended          []lease          `json:"ended"`
	EndedCount     int              `json:"endedCount"`
	Running        []lease          `json:"running"`
	RunningCount   int              `json:"runningCount"`
	Connections    int              `json:"connections"`
	StillGrantedBy []map[string]any `json:"stillGrantedBy"`
	Unchanged      bool             `json:"unchanged"`
	Restarted      bool             `json:"restarted"`
}

func (r reply) receipt(t testing.TB, status int) (doc receipt) {
	t.Helper()
	require.Equal(t, status, r.StatusCode, r.body)
	r.into(t, &doc)
	require.Equal(t, status == 200, doc.Quiesced)
	return doc
}

// requireProblem finds a problem of that type.
func (r reply) requireProblem(t testing.TB, status int, name string) map[string]any {
	t.Helper()
	require.Equal(t, status, r.StatusCode, r.body)
	doc := r.problem(t)
	require.Equal(t, "urn:interlock:problem:"+name, doc["type"], r.body)
	return doc
}

// admit begins an operation of somebody.
func (s *adminStation) admit(name, action, resource string) *actors.Lease {
	s.t.Helper()
	l, err := s.engine.Admit(context.Background(), actors.Request{Principal: who(name), Action: action, Resource: resource})
	require.NoError(s.t, err)
	s.t.Cleanup(l.Release)
	return l
}

func (s *adminStation) allowed(name, action, resource string) bool {
	s.t.Helper()
	d, err := s.engine.Decide(context.Background(), actors.Request{Principal: who(name), Action: action, Resource: resource})
	require.NoError(s.t, err)
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
