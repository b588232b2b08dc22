package leases_test

import (
	"context"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/leases"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// policyText is the policy of the tests. Alice may act for bob.
const policyText = `
roles:
  - name: worker
    permissions:
      - {actions: ["jobs:run"], resources: ["jobs/**"]}
  - name: agent
    permissions:
      - {actions: ["interlock:lease"], resources: ["principals/user:bob"]}
  - name: small
    permissions:
      - {actions: ["jobs:try"], resources: ["jobs/**"], when: "resource.properties.size < 3"}
  - name: auditor
    permissions:
      - {actions: ["interlock:read"], resources: ["leases"]}
grants:
  - {principal: "user:alice", role: worker}
  - {principal: "user:alice", role: agent}
  - {principal: "user:bob", role: worker}
  - {principal: "user:dora", role: auditor}
  - {principal: "user:erin", role: small}
`

// station is a server of leases on an engine, without a network. Callers name themselves in a
// header.
type station struct {
	t      *testing.T
	engine *actors.Engine
	server *leases.Server
}

func newStation(t *testing.T, alter ...func(*leases.Options, *actors.Options)) *station {
	t.Helper()
	file, err := policyfile.Parse("policy.yaml", []byte(policyText))
	require.NoError(t, err)
	memory, err := oplog.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	require.NoError(t, err)
	quiet := slog.New(slog.DiscardHandler)
	o, eo := leases.Options{Identifier: named{}, Logger: quiet}, actors.Options{Log: memory, Logger: quiet}
	for _, f := range alter {
		f(&o, &eo)
	}
	s := &station{t: t}
	s.engine, err = actors.New(eo)
	require.NoError(t, err)
	o.Engine = s.engine
	s.server, err = leases.New(o)
	require.NoError(t, err)
	t.Cleanup(s.close)
	return s
}

// close closes the server and the engine, unless the test has done so.
func (s *station) close() {
	if s.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		left, err := s.server.Close(ctx)
		require.NoError(s.t, err)
		require.Zero(s.t, left)
	}
	require.NoError(s.t, s.engine.Close(context.Background()))
}

// named identifies callers by the headers Caller and Certificate. The latter is a number.
type named struct{}

func (named) Identify(r *http.Request) (*httpapi.Caller, error) {
	name := r.Header.Get("Caller")
	if name == "" {
		return nil, certs.ErrNoIdentity
	}
	who := policy.MustPrincipal("user:" + name)
	return &httpapi.Caller{Principal: who, Credential: credentialOf(name, r.Header.Get("Certificate"))}, nil
}

// fingerprintOf is that of a caller's certificate of that number.
func fingerprintOf(name, number string) (sum [32]byte) {
	copy(sum[:], name+number)
	return sum
}

// certificate names a caller's certificate for a revocation.
func certificate(t *testing.T, name, number string) policy.CertificateID {
	t.Helper()
	sum := fingerprintOf(name, number)
	id, err := policy.ByFingerprint(hex.EncodeToString(sum[:]))
	require.NoError(t, err)
	return id
}

func credentialOf(name, number string) *actors.Credential {
	now := time.Now()
	return actors.NewCredential(fingerprintOf(name, number), [32]byte{1}, hex.EncodeToString([]byte(name+number)),
		now.Truncate(time.Hour).Add(-time.Hour), now.Truncate(time.Hour).Add(24*time.Hour))
}

// call is one request and its answer.
type call struct {
	method, path string
	caller, cert string
	body         any
}

func (s *station) do(c call) *httptest.ResponseRecorder {
	s.t.Helper()
	var body string
	switch b := c.body.(type) {
	case nil:
	case string:
		body = b
	default:
		text, err := json.Marshal(b)
		require.NoError(s.t, err)
		body = string(text)
	}
	r := httptest.NewRequest(c.method, c.path, strings.NewReader(body))
	if c.caller != "" {
		r.Header.Set("Caller", c.caller)
	}
	r.Header.Set("Certificate", c.cert)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	s.server.ServeHTTP(w, r)
	return w
}

// decode reads an answer.
func decode[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &v, json.RejectUnknownMembers(true)), w.Body.String())
	return v
}

func problemType(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	return strings.TrimPrefix(decode[client.Problem](t, w).Type, "urn:interlock:problem:")
}

// pathOf is the path of the lease with a number.
func pathOf(n byte) string { return client.LeasesPath + "/" + idOf(n) }

func idOf(n byte) string {
	x := [16]byte{15: n}
	return hex.EncodeToString(x[:])
}

// wants is a body that asks for a lease of the caller.
func wants(alter ...func(*client.LeaseRequest)) *client.LeaseRequest {
	q := &client.LeaseRequest{Session: "s1", Evaluation: client.Evaluation{
		Action: client.Action{Name: "jobs:run"}, Resource: client.Entity{Type: "jobs", ID: "7"},
	}}
	for _, f := range alter {
		f(q)
	}
	return q
}

func (s *station) acquire(caller string, n byte) {
	s.t.Helper()
	w := s.do(call{http.MethodPut, pathOf(n), caller, "1", wants()})
	require.Equal(s.t, http.StatusCreated, w.Code, w.Body.String())
}

// update changes the policy on a goroutine of its own.
func (s *station) update(grace *time.Duration, changes ...policy.Change) <-chan actors.Receipt {
	done := make(chan actors.Receipt, 1)
	go func() {
		r, err := s.engine.Update(context.Background(), actors.Update{Changes: changes, Grace: grace})
		if err == nil {
			done <- r
		}
	}()
	synctest.Wait()
	return done
}

func revoke(name string) []policy.Change {
	who := policy.MustPrincipal("user:" + name)
	return []policy.Change{
		policy.RevokeRole(policy.Grant{Principal: who, Role: "worker"}), policy.RevokeRole(policy.Grant{Principal: who, Role: "agent"}),
	}
}
