package leases_test

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
	"github.com/interlock-authz/interlock/httpapi/leases"
	"github.com/interlock-authz/interlock/httpapi/openapi"
)

// tlsStation serves leases over real connections with mutual TLS. Its clients check every exchange
// against the document for callers.
type tlsStation struct {
	*servertest.Server
	leases *leases.Server
}

func newTLSStation(t *testing.T, alter ...func(*leases.Options)) *tlsStation {
	t.Helper()
	text := strings.NewReplacer("principals/user:bob", "principals/**", "user:", domain).Replace(policyText)
	file, err := policyfile.Parse("policy.yaml", []byte(text))
	require.NoError(t, err)
	s := &tlsStation{Server: servertest.NewOn(t, file)}
	o := leases.Options{Engine: s.Engine, Identifier: s.Connections, Logger: s.Log.Logger()}
	for _, f := range alter {
		f(&o)
	}
	s.leases, err = leases.New(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		left, err := s.leases.Close(context.Background()) // what is out expires soon
		require.NoError(t, err)
		require.Zero(t, left)
	})
	s.Serve(s.leases)
	s.Describe(openapi.Callers())
	return s
}

const domain = "spiffe://interlock.test/"

// update changes the policy on a goroutine of its own.
func (s *tlsStation) update(grace *time.Duration, changes ...policy.Change) <-chan actors.Receipt {
	done := make(chan actors.Receipt, 1)
	go func() {
		defer close(done)
		r, err := s.Engine.Update(context.Background(), actors.Update{Changes: changes, Grace: grace})
		if err != nil {
			s.T.Error(err)
			return
		}
		done <- r
	}()
	return done
}

// revokeSPIFFE takes the roles of a caller of the station.
func revokeSPIFFE(name string) []policy.Change {
	who := policy.MustPrincipal(domain + name)
	return []policy.Change{
		policy.RevokeRole(policy.Grant{Principal: who, Role: "worker"}), policy.RevokeRole(policy.Grant{Principal: who, Role: "agent"}),
	}
}

// send sends a request with a body of JSON, empty for none.
func (s *tlsStation) send(c *http.Client, method, path, body string) servertest.Reply {
	s.T.Helper()
	r := s.Request(method, path, body)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return s.Send(c, r)
}

// TestExchangesAreDocumented gets each status that the endpoints have by themselves.
func TestExchangesAreDocumented(t *testing.T) {
	const good = `{"action":{"name":"jobs:run"},"resource":{"type":"jobs","id":"7"},"session":"s1"}`
	s := newTLSStation(t, func(o *leases.Options) { o.PerHolder = 2 })
	alice, carol, stranger := s.As("alice"), s.As("carol"), s.Client(servertest.HTTP2)
	renew := func(ids string) string { return `{"session":"s1","leases":[` + ids + `]}` }
	for _, tt := range []struct {
		as           *http.Client
		method, path string
		body         string
		status       int
	}{
		{alice, "PUT", pathOf(1), good, 201},
		{alice, "PUT", pathOf(1), good, 200},
		{alice, "PUT", pathOf(1), strings.Replace(good, "s1", "s2", 1), 409},
		{alice, "PUT", "/v1/leases/1", good, 400},
		{alice, "PUT", pathOf(2), "{}", 400},
		{alice, "PUT", pathOf(2), strings.Replace(good, `"session"`, `"ttl":61,"session"`, 1), 400},
		{alice, "PUT", pathOf(2), `{"x":"` + strings.Repeat("x", 17<<10) + `"}`, 413},
		{alice, "PUT", pathOf(2), "", 415},
		{alice, "PUT", pathOf(2), strings.Replace(good, `"session"`, `"ttl":1.5,"subject":{"type":"principal","id":"`+domain+`bob"},"session"`, 1), 201},
		{alice, "PUT", pathOf(3), good, 503},
		{carol, "PUT", pathOf(3), good, 403},
		{carol, "PUT", pathOf(1), good, 403},
		{stranger, "PUT", pathOf(3), good, 401},
		{alice, "GET", pathOf(1), "", 200},
		{carol, "GET", pathOf(1), "", 404},
		{alice, "GET", "/v1/leases/x", "", 400},
		{stranger, "GET", pathOf(1), "", 401},
		{alice, "POST", "/v1/leases/renew", renew(`"` + idOf(1) + `","` + idOf(9) + `"`), 200},
		{alice, "POST", "/v1/leases/renew", renew(""), 200},
		{alice, "POST", "/v1/leases/renew", renew(`"1"`), 400},
		{alice, "POST", "/v1/leases/renew", renew(`"` + strings.Repeat("x", 65<<10) + `"`), 413},
		{stranger, "POST", "/v1/leases/renew", renew(""), 401},
		{alice, "DELETE", pathOf(1), "", 204},
		{alice, "DELETE", pathOf(1), "", 204},
		{alice, "DELETE", pathOf(2), "", 204},
		{alice, "DELETE", "/v1/leases/x", "", 400},
		{stranger, "DELETE", pathOf(1), "", 401},
		{alice, "PUT", pathOf(1), good, 409},
		{alice, "GET", "/v1/leases/events?session=", "", 400},
		{stranger, "GET", "/v1/leases/events?session=s1", "", 401},
		{alice, "PATCH", pathOf(1), "", 405},
	} {
		got := s.send(tt.as, tt.method, tt.path, tt.body)
		require.Equal(t, tt.status, got.StatusCode, "%s %s %.200s: %s", tt.method, tt.path, tt.body, got.Text)
	}
	browser := s.Request(http.MethodDelete, pathOf(1), "")
	browser.Header.Set("Sec-Fetch-Site", "cross-site")
	s.Send(alice, browser).RequireProblem(t, http.StatusForbidden, "cross-site")
}

// TestStreamsAreDocumented reads each event of a stream.
func TestStreamsAreDocumented(t *testing.T) {
	s := newTLSStation(t)
	alice := s.As("alice")
	const body = `{"action":{"name":"jobs:run"},"resource":{"type":"jobs","id":"7"},"ttl":1,"session":"s1"}`
	require.Equal(t, http.StatusCreated, s.send(alice, http.MethodPut, pathOf(1), body).StatusCode)
	open := func() (*http.Response, func() string) {
		resp, err := alice.Do(s.Request(http.MethodGet, "/v1/leases/events?session=s1", ""))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		lines := bufio.NewScanner(resp.Body)
		return resp, func() string {
			for lines.Scan() {
				if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
					return name
				}
			}
			return ""
		}
	}
	first, next := open()
	require.Equal(t, client.EventSnapshot, next())
	grace := 300 * time.Millisecond
	receipt := s.update(&grace, revokeSPIFFE("alice")...)
	require.Equal(t, client.EventRevoked, next())
	got := s.send(alice, http.MethodPost, "/v1/leases/renew", `{"session":"s1","leases":["`+idOf(1)+`"]}`)
	require.Contains(t, got.Text, `"graces"`)
	require.Equal(t, client.EventEnded, next())
	require.Equal(t, actors.HowExpired, (<-receipt).Ended[0].How)
	second, again := open()
	require.Equal(t, client.EventEnd, next())
	require.Equal(t, client.EventSnapshot, again())
	require.NoError(t, first.Body.Close()) // checks what it has read
	require.NoError(t, second.Body.Close())
}

// TestG1G2_TheGoClientOverTLS runs, revokes and rotates over real connections.
func TestG1G2_TheGoClientOverTLS(t *testing.T) {
	for _, wire := range servertest.Wires {
		t.Run(string(wire), func(t *testing.T) {
			s := newTLSStation(t)
			clientOf := func(name string) *client.Client {
				h := s.Client(wire, s.Issue(domain+name))
				h.Timeout = 0
				c, err := client.New(client.Options{BaseURL: s.URL, HTTPClient: h, LeaseTTL: 1200 * time.Millisecond})
				require.NoError(t, err)
				t.Cleanup(c.Close)
				return c
			}
			_, err := clientOf("carol").Acquire(t.Context(), work)
			require.ErrorIs(t, err, client.ErrDenied)
			c := clientOf("alice")
			l, err := c.Acquire(t.Context(), work)
			require.NoError(t, err)
			require.Eventually(t, func() bool { return s.leases.Counts().Renewed > 3 }, 5*time.Second, 10*time.Millisecond, "it outlives its TTL")
			require.NoError(t, l.Check())
			receipt := s.update(nil, revokeSPIFFE("alice")...)
			<-l.Context().Done()
			require.ErrorIs(t, context.Cause(l.Context()), client.ErrRevoked)
			require.Empty(t, receipt)
			l.Release()
			require.Equal(t, actors.HowReleased, (<-receipt).Ended[0].How)
			_, err = c.Acquire(t.Context(), work)
			require.ErrorIs(t, err, client.ErrDenied)
			_, err = c.Lease(t.Context(), l.ID())
			p, ok := errors.AsType[*client.Problem](err)
			require.True(t, ok)
			require.Equal(t, http.StatusNotFound, p.Status)
		})
	}
}
