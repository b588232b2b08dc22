//go:build conformance

package authzen_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/httpapi/authzen"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// The number of cases, so that none is lost.
const (
	certificationCases = 60
	todoCases          = 40 + 3
)

// certificationCase is one case of the OpenID conformance suite.
type certificationCase struct {
	ID          string         `json:"id"`
	Method      string         `json:"method"`
	Path        string         `json:"path"`
	ContentType string         `json:"content_type"`
	Body        jsontext.Value `json:"body"`
	RawBody     *string        `json:"raw_body"`
	Status      []int          `json:"status"`
	Expect      jsontext.Value `json:"expect"`
	Match       string         `json:"match"`
	Repeat      int            `json:"repeat"`
	SendID      bool           `json:"send_x_request_id"`
	ExpectID    bool           `json:"expect_x_request_id_echo"`
	Credentials string         `json:"credentials"`
}

// todoUser is one user of the Todo scenario.
type todoUser struct {
	Name  string   `json:"name"`
	Email string   `json:"email"`
	Roles []string `json:"roles"`
}

// readCases reads a file of the folder that CASES names.
func readCases(t *testing.T, name string, into any) {
	t.Helper()
	folder := os.Getenv("CASES")
	require.NotEmpty(t, folder, "CASES has to name the folder of the AuthZEN vectors")
	data, err := os.ReadFile(filepath.Join(folder, name))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into))
}

func TestConformanceCertification(t *testing.T) {
	var file struct {
		Cases []certificationCase `json:"cases"`
	}
	readCases(t, "certification/oidf-conformance-cases.json", &file)
	s := newStation(t, "conformance-policy.yaml")
	s.serve(s.decisions())
	clients := map[string][]*http.Client{}
	for _, speaks := range servertest.Wires {
		clients[""] = append(clients[""], s.Client(speaks, s.Issue("spiffe://interlock.test/pep")))
		clients["none"] = append(clients["none"], s.Client(speaks))
		clients["invalid"] = append(clients["invalid"], s.Client(speaks, s.IssueBy(s.NewAuthority("other-"+strconv.Itoa(len(clients["invalid"]))), servertest.ClientLeaf("pep"))))
	}
	ran := 0
	for _, test := range file.Cases {
		if test.Path != evaluation && test.Path != evaluations {
			continue
		}
		t.Run(test.ID, func(t *testing.T) {
			require.Contains(t, clients, test.Credentials)
			for _, client := range clients[test.Credentials] {
				test.run(t, s, client)
			}
			ran++
		})
	}
	require.Equal(t, certificationCases, ran)
}

func (c *certificationCase) run(t *testing.T, s *station, client *http.Client) {
	var first string
	for i := range max(1, c.Repeat) {
		r := c.request(t, s)
		id := fmt.Sprintf("%s-%d", c.ID, i)
		if c.SendID {
			r.Header.Set("X-Request-ID", id)
		}
		got, err := s.Try(client, r)
		if c.Credentials == "invalid" {
			require.Error(t, err, "refused in the handshake")
			return
		}
		require.NoError(t, err)
		require.Contains(t, c.Status, got.StatusCode, got.Text)
		if c.ExpectID {
			require.Equal(t, id, got.Header.Get("X-Request-ID"))
		}
		c.match(t, got)
		if i == 0 {
			first = got.Text
		} else {
			require.Equal(t, first, got.Text, "repeated")
		}
	}
}

func (c *certificationCase) request(t *testing.T, s *station) *http.Request {
	t.Helper()
	body := string(c.Body)
	if c.RawBody != nil {
		body = *c.RawBody
	}
	r := s.Request(c.Method, c.Path, body)
	r.Header.Set("Content-Type", c.ContentType)
	return r
}

// match compares the answer with the expected one. An answer that equals the expected one
// passes every kind of match.
func (c *certificationCase) match(t *testing.T, got servertest.Reply) {
	t.Helper()
	if c.Expect == nil {
		require.Empty(t, c.Match)
		got.Problem(t)
		return
	}
	require.Contains(t, []string{
		"decision", "single decision, no evaluations array", "decisions positional, same length",
		"decisions positional, response truncated at first trigger",
	}, c.Match)
	require.Equal(t, "application/json", got.Header.Get("Content-Type"))
	require.JSONEq(t, string(c.Expect), got.Text)
}

func TestConformanceTodo(t *testing.T) {
	var vectors struct {
		Evaluation []struct {
			Request  jsontext.Value `json:"request"`
			Expected bool           `json:"expected"`
		} `json:"evaluation"`
		Evaluations []struct {
			Request  jsontext.Value `json:"request"`
			Expected jsontext.Value `json:"expected"`
		} `json:"evaluations"`
	}
	readCases(t, "todo/decisions-authorization-api-1_0-02.json", &vectors)
	var users struct {
		Users map[string]todoUser `json:"users"`
	}
	readCases(t, "todo/users.json", &users)
	s := newStationOn(t, todoPolicy(t, users.Users))
	s.serve(s.decisions())
	c := s.As("pep")
	ran := 0
	for i, test := range vectors.Evaluation {
		t.Run(fmt.Sprintf("evaluation-%d", i), func(t *testing.T) {
			got := s.Post(c, evaluation, string(test.Request))
			require.Equal(t, 200, got.StatusCode, got.Text)
			require.Equal(t, fmt.Sprintf(`{"decision":%t}`, test.Expected), got.Text)
			ran++
		})
	}
	for i, test := range vectors.Evaluations {
		t.Run(fmt.Sprintf("evaluations-%d", i), func(t *testing.T) {
			got := s.Post(c, evaluations, string(test.Request))
			require.Equal(t, 200, got.StatusCode, got.Text)
			require.JSONEq(t, `{"evaluations":`+string(test.Expected)+`}`, got.Text)
			ran++
		})
	}
	require.Equal(t, todoCases, ran)
}

// todoPolicy adds the users of the scenario to the policy, with their roles. An editor also
// gets a role that allows actions on todos of the editor's e-mail.
func todoPolicy(t *testing.T, users map[string]todoUser) *policyfile.File {
	t.Helper()
	file := servertest.ReadPolicy(t, "conformance-policy.yaml")
	for _, id := range slices.Sorted(maps.Keys(users)) {
		user := users[id]
		who, err := policy.ParsePrincipal("user:" + id)
		require.NoError(t, err)
		roles := slices.Clone(user.Roles)
		if isEditor(file, user.Roles) {
			own, err := policy.RoleSpec{Permissions: []policy.PermissionSpec{{
				Actions: []string{"can_update_todo", "can_delete_todo"}, Resources: []string{"todo/*"},
				When: "resource.properties.ownerID == " + strconv.Quote(user.Email),
			}}}.Role("owner-" + user.Name)
			require.NoError(t, err)
			file.Roles[own.Name()] = own
			roles = append(roles, own.Name())
		}
		for _, role := range roles {
			file.Grants = append(file.Grants, policy.Grant{Principal: who, Role: role})
		}
	}
	return file
}

// isEditor reports whether one of the roles is editor or inherits it.
func isEditor(file *policyfile.File, roles []string) bool {
	return slices.ContainsFunc(roles, func(name string) bool {
		return name == "editor" || isEditor(file, file.Roles[name].Inherits())
	})
}

// TestConformanceMetadata checks that the endpoints of the metadata are the endpoints that
// answer.
func TestConformanceMetadata(t *testing.T) {
	s := newStation(t, "conformance-policy.yaml")
	var api http.Handler
	s.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { api.ServeHTTP(w, r) }))
	api = s.decisions(func(o *authzen.Options) { o.BaseURL = s.URL })
	c := s.As("pep")
	var metadata map[string]string
	require.NoError(t, json.Unmarshal([]byte(s.Send(c, s.Request(http.MethodGet, "/.well-known/authzen-configuration", "")).Text), &metadata))
	require.Equal(t, s.URL, metadata["policy_decision_point"])
	for _, name := range []string{"access_evaluation_endpoint", "access_evaluations_endpoint"} {
		path, found := strings.CutPrefix(metadata[name], s.URL)
		require.True(t, found)
		require.Equal(t, `{"decision":true}`, s.Post(c, path, ask("user", "alice", "read", "record/record-1")).Text)
	}
}

func newStationOn(t testing.TB, file *policyfile.File) *station {
	t.Helper()
	return &station{servertest.NewOn(t, file)}
}

func who(name string) policy.Principal {
	return policy.MustPrincipal("spiffe://interlock.test/" + name)
}
