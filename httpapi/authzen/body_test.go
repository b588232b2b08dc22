package authzen_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/authzen"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

func nested(depth int) string {
	return ask("user", "erin", "orders:read", "orders/1",
		`,"context":{"deep":`+strings.Repeat("[", depth)+strings.Repeat("]", depth)+`}`)
}

func TestBodyIsReadStrictly(t *testing.T) {
	s := newDecisionStation(t)
	c := s.As("pep")
	good := ask("user", "erin", "orders:read", "orders/1")
	for _, test := range []struct {
		name, body, detail string
	}{
		{"empty", " \n", "the body is empty"},
		{"no JSON", `{"subject": broken`, "is not JSON"},
		{"cut", good[:len(good)-5], "is not JSON"},
		{"an array", "[" + good + "]", "an array, which is the wrong type"},
		{"a string", `"x"`, "a string, which is the wrong type"},
		{"two values", good + good, "is not JSON"},
		{"rubbish behind it", good + "}", "is not JSON"},
		{"duplicate names", `{"action":{"name":"a"},"action":{"name":"orders:read"},` + good[1:], "duplicate object member name"},
		{"duplicate names inside", `{"subject":{"type":"user","id":"dave","id":"erin"},"action":{"name":"a"},"resource":{"type":"r","id":"1"}}`, "duplicate"},
		{"duplicate names in properties", ask("user", "erin", "orders:read", "orders/1", `,"context":{"a":1,"a":2}`), "/context/a"},
		{"duplicate by escape", `{"subject":{"type":"user","id":"dave"},"\u0073ubject":{"type":"user","id":"erin"}}`, "duplicate"},
		{"other letters", strings.Replace(good, "subject", "Subject", 1), "/subject has another case"},
		{"another case in addition", `{"SUBJECT":{"type":"user","id":"dave"},` + good[1:], "/subject has another case"},
		{"other letters in an entity", strings.Replace(good, `"id":"erin"`, `"id":"erin","ID":"dave"`, 1), "/subject/id"},
		{"other letters in the action", strings.Replace(good, `"name"`, `"Name"`, 1), "/action/name"},
		{"a number for a name", strings.Replace(good, `"orders:read"`, `7`, 1), "/action/name (byte"},
		{"a string for a subject", strings.Replace(good, `{"type":"user","id":"erin"}`, `"erin"`, 1), "/subject"},
		{"invalid UTF-8", strings.Replace(good, "erin", "er\xffin", 1), "UTF-8"},
		{"half a surrogate", strings.Replace(good, "erin", `er\ud800in`, 1), "is not JSON"},
		{"too deep", nested(70), "more than 64"},
		{"properties too deep", nested(20), "/context"},
		{"much too deep", nested(400_000), "more than 64"},
		{"deep and cut", strings.Repeat(`{"a":`, 50_000), "more than 64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := s.Post(c, evaluation, test.body)
			require.Equal(t, 400, got.StatusCode, got.Text)
			doc := got.Problem(t)
			require.Equal(t, "urn:interlock:problem:malformed-body", doc["type"])
			require.Contains(t, doc["detail"], test.detail)
			require.NotContains(t, got.Text, "httpapi", "no names of Go types")
		})
	}
	for name, body := range map[string]string{
		"unknown members":  ask("user", "erin", "orders:read", "orders/1", `,"foo":"bar","future":{"a":[1]}`),
		"space around":     " \n" + good + "\r\n\t ",
		"deep enough":      nested(15),
		"many but shallow": ask("user", "erin", "orders:read", "orders/1", `,"context":{"a":[`+strings.Repeat("[],", 200)+`[]]}`),
		"brackets in text": ask("user", "erin", "orders:read", "orders/1", `,"context":{"a":"`+strings.Repeat("[{", 200)+`"}`),
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, `{"decision":true}`, s.Post(c, evaluation, body).Text)
		})
	}
}

func TestBodyEmpty(t *testing.T) {
	s := newDecisionStation(t)
	for _, speaks := range servertest.Wires {
		got := s.Post(s.Client(speaks, s.Issue("spiffe://interlock.test/pep")), evaluation, "")
		require.Equal(t, 400, got.StatusCode)
		require.Contains(t, got.Problem(t)["detail"], "empty")
	}
}

func TestBodyMediaType(t *testing.T) {
	s := newDecisionStation(t)
	c := s.As("pep")
	send := func(types ...string) int {
		r := s.Request(http.MethodPost, evaluation, ask("user", "erin", "orders:read", "orders/1"))
		r.Header["Content-Type"] = types
		return s.Send(c, r).StatusCode
	}
	for _, good := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"} {
		require.Equal(t, 200, send(good), good)
	}
	for _, bad := range []string{"text/plain", "application/jsonp", "application/json, text/plain", "json", "*/*", ""} {
		require.Equal(t, 400, send(bad), bad)
	}
	require.Equal(t, 400, send())
	require.Equal(t, 400, send("application/json", "application/json"))
	r := s.Request(http.MethodPost, evaluation, "x")
	r.Header.Set("Content-Encoding", "gzip")
	require.Equal(t, 400, s.Send(c, r).StatusCode)
}

func TestBodyTooLarge(t *testing.T) {
	s := newDecisionStation(t, func(o *authzen.Options) { o.MaxBody = 1000 })
	body := ask("user", "erin", "orders:read", "orders/1", `,"context":{"a":"`+strings.Repeat("x", 2000)+`"}`)
	for _, speaks := range servertest.Wires {
		c := s.Client(speaks, s.Issue("spiffe://interlock.test/pep"))
		t.Run(string(speaks)+" announced", func(t *testing.T) {
			long := strings.Replace(body, "xx", strings.Repeat("x", 2<<20), 1)
			got := s.Post(c, evaluation, long) // more than fits into any buffer on the way
			require.Equal(t, 413, got.StatusCode)
			require.Contains(t, got.Problem(t)["detail"], "1000 bytes")
		})
		t.Run(string(speaks)+" in chunks", func(t *testing.T) {
			r := s.Request(http.MethodPost, evaluation, body)
			r.ContentLength = -1
			require.Equal(t, 413, s.Send(c, r).StatusCode)
		})
	}
}

func TestBodyTooLargeIsRefusedUnread(t *testing.T) {
	s := newDecisionStation(t)
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL, "https://"), &tls.Config{
		RootCAs: s.Authority.Pool(), Certificates: []tls.Certificate{s.Issue("spiffe://interlock.test/pep")},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		evaluation, 1<<30)
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	got, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.NoError(t, got.Body.Close())
	require.Equal(t, 413, got.StatusCode, "and not 100")
}

// A caller without a grant can only learn that it may do nothing, so its bodies are small.
//
// SECURITY, line 23.
func TestLimits_BodiesOfACallerWithoutAGrant(t *testing.T) {
	s := newDecisionStation(t)
	long := `,"more":"` + strings.Repeat("x", 16<<10) + `"`
	for _, announced := range []bool{true, false} {
		ask := func(name, more string) int {
			r := s.Request(http.MethodPost, evaluation, ask("principal", "spiffe://interlock.test/"+name, "orders:read", "orders/1", more))
			if !announced {
				r.ContentLength = -1
			}
			return s.Send(s.As(name), r).StatusCode
		}
		require.Equal(t, http.StatusRequestEntityTooLarge, ask("stranger", long))
		require.Equal(t, http.StatusOK, ask("stranger", ""))
		require.Equal(t, http.StatusOK, ask("pep", long))
		_, err := s.Engine.Update(t.Context(), actors.Update{Changes: []policy.Change{
			policy.GrantRole(policy.Grant{Principals: everyone(t), Role: "order-reader"})}})
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, ask("stranger", long), "a grant to a pattern is one")
		_, err = s.Engine.Update(t.Context(), actors.Update{Changes: []policy.Change{
			policy.RevokeRole(policy.Grant{Principals: everyone(t), Role: "order-reader"})}})
		require.NoError(t, err)
	}
}

func everyone(t *testing.T) policy.PrincipalPattern {
	t.Helper()
	p, err := policy.ParsePrincipalPattern("spiffe://interlock.test/**")
	require.NoError(t, err)
	return p
}
