package client_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/admin"
	"github.com/interlock-authz/interlock/httpapi/authzen"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
	"github.com/interlock-authz/interlock/httpapi/openapi"
)

const adminID = "spiffe://interlock.test/admin"

// newServer serves both APIs on one address, with a log on disk.
func newServer(t *testing.T) *servertest.Server {
	t.Helper()
	j, err := journal.Open(filepath.Join(t.TempDir(), "data"), journal.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, j.Close()) })
	s := servertest.NewWith(t, j)
	none := func(func(*policy.Role) bool) {}
	changes := policyfile.Diff(none, func(func(policy.Grant) bool) {}, servertest.ReadPolicy(t, "../../admin/testdata/admin-policy.yaml"))
	_, err = s.Engine.Update(t.Context(), actors.Update{Changes: changes})
	require.NoError(t, err)
	router := httpapi.NewRouter(nil)
	decisions, err := authzen.New(authzen.Options{Engine: s.Engine, Identifier: s.Connections, BaseURL: "https://pdp.example.org"})
	require.NoError(t, err)
	decisions.Mount(router)
	router.PathPrefix("/v1/").Handler(admin.New(admin.Options{Engine: s.Engine, Identifier: s.Connections, Store: j}))
	s.Describe(openapi.Callers(), openapi.Admin())
	return s.Serve(router)
}

func as(t *testing.T, s *servertest.Server, name string) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{BaseURL: s.URL + "/", HTTPClient: s.As(name)})
	require.NoError(t, err)
	return c
}

func change(op policy.Op, name string) []policy.ChangeSpec {
	return []policy.ChangeSpec{{Op: op, Principal: "user:" + name, Role: policy.RoleRef{Name: "reader"}}}
}

func TestUpdates(t *testing.T) {
	s := newServer(t)
	c := as(t, s, "admin")
	ctx, wait := t.Context(), 5*time.Second
	dry, err := c.Update(ctx, change(policy.OpGrant, "x"), client.UpdateOptions{DryRun: true})
	require.NoError(t, err)
	require.Nil(t, dry.Receipt)
	require.EqualValues(t, 1, dry.Preview.At)
	first, err := c.Update(ctx, change(policy.OpGrant, "x"), client.UpdateOptions{Wait: &wait, IdempotencyKey: "k1"})
	require.NoError(t, err)
	require.True(t, first.Receipt.Quiesced)
	require.Nil(t, first.Preview)
	again, err := c.Update(ctx, change(policy.OpGrant, "x"), client.UpdateOptions{IdempotencyKey: "k1"})
	require.NoError(t, err)
	require.Equal(t, first.Receipt.Revision, again.Receipt.Revision)
	_, err = c.Update(ctx, change(policy.OpGrant, "y"), client.UpdateOptions{IdempotencyKey: "k1"})
	require.True(t, client.IsProblem(err, "key-reused"), "%v", err)
	receipt, err := c.Receipt(ctx, first.Receipt.Revision, time.Second)
	require.NoError(t, err)
	require.True(t, receipt.Quiesced)
	_, err = c.Update(ctx, change(policy.OpRevoke, "x"), client.UpdateOptions{IfMatch: `"other.1"`})
	require.True(t, client.IsProblem(err, "precondition-failed"), "%v", err)
	_, err = as(t, s, "bob").Update(ctx, change(policy.OpRevoke, "x"), client.UpdateOptions{})
	var p *client.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusForbidden, p.Status)
	require.NotEmpty(t, p.Instance)
}

func TestPolicies(t *testing.T) {
	s := newServer(t)
	c := as(t, s, "admin")
	ctx := t.Context()
	p, etag, err := c.Policy(ctx, client.PolicyOptions{})
	require.NoError(t, err)
	require.Contains(t, p.Roles, "reader")
	current, err := c.PolicyETag(ctx)
	require.NoError(t, err)
	require.Equal(t, etag, current)
	for _, media := range []string{client.MediaJSON, client.MediaYAML, client.MediaLines} {
		body, etag, err := c.OpenPolicy(ctx, media, client.PolicyOptions{})
		require.NoError(t, err)
		var text bytes.Buffer
		_, err = text.ReadFrom(body)
		require.NoError(t, err)
		require.NoError(t, body.Close())
		r, err := c.PutPolicy(ctx, client.PolicyBody{Media: media, Reader: &text, Size: -1}, client.UpdateOptions{IfMatch: etag})
		require.NoError(t, err, media)
		require.True(t, r.Receipt.Unchanged, media)
	}
	_, err = c.PutPolicy(ctx, client.PolicyBody{Media: client.MediaYAML, Reader: strings.NewReader("roles: {}"), Size: -1}, client.UpdateOptions{})
	require.True(t, client.IsProblem(err, "precondition-required"), "%v", err)
	who, err := c.Principal(ctx, adminID)
	require.NoError(t, err)
	require.NotEmpty(t, who.Permissions)
	role, err := c.Role(ctx, "admin")
	require.NoError(t, err)
	require.Equal(t, "admin", role.Name)
	require.NotEmpty(t, role.Permissions)
	require.Equal(t, adminID, role.Grants[0].Principal)
	_, err = c.Role(ctx, "nonsense")
	require.True(t, client.IsProblem(err, "unknown-role"), "%v", err)
	_, err = c.Role(ctx, "ns:a/b")
	require.True(t, client.IsProblem(err, "unknown-role"), "%v", err)
	_, err = c.Role(ctx, "a b")
	require.True(t, client.IsProblem(err, "malformed"), "%v", err)
}

func TestHistory(t *testing.T) {
	s := newServer(t)
	c := as(t, s, "admin")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := c.Update(ctx, change(policy.OpGrant, "x"), client.UpdateOptions{})
	require.NoError(t, err)
	var seen []uint64
	for entry, err := range c.Follow(ctx, 1) {
		require.NoError(t, err)
		if seen = append(seen, entry.Revision); len(seen) == 2 {
			break
		}
		_, err := c.Update(ctx, change(policy.OpRevoke, "x"), client.UpdateOptions{})
		require.NoError(t, err)
	}
	require.Equal(t, []uint64{2, 3}, seen)
	last := 1
	page, err := c.Changes(ctx, client.PageOptions{Last: &last})
	require.NoError(t, err)
	require.Len(t, page.Changes, 1)
	require.Equal(t, adminID, page.Changes[0].Author)
	at := uint64(2)
	e, err := c.Explain(ctx, client.ExplainRequest{Principal: "user:x", Action: "orders:read", Resource: "orders/1", At: &at})
	require.NoError(t, err)
	require.True(t, e.Decision)
	require.EqualValues(t, 3, e.Until.Revision)
	leases, err := c.Operations(ctx, "user:x")
	require.NoError(t, err)
	require.Empty(t, leases)
	v, err := c.Verify(ctx)
	require.NoError(t, err)
	require.Empty(t, v.Damage)
	var copied bytes.Buffer
	digest, size, err := c.Backup(ctx, &copied)
	require.NoError(t, err)
	require.EqualValues(t, copied.Len(), size)
	require.Len(t, digest, 64)
}

func TestFollowEndsWithItsContext(t *testing.T) {
	c := as(t, newServer(t), "admin")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for _, err := range c.Follow(ctx, 0) {
		last = err
		cancel()
	}
	require.ErrorIs(t, last, context.Canceled)
	for _, err := range as(t, newServer(t), "bob").Follow(t.Context(), 0) {
		require.True(t, client.IsProblem(err, "denied"), "%v", err)
	}
}

func TestDecisions(t *testing.T) {
	s := newServer(t)
	c := as(t, s, "admin")
	ask := client.Evaluation{
		Subject: client.Entity{Type: "principal", ID: adminID}, Action: client.Action{Name: "orders:read"}, Resource: client.Entity{Type: "orders", ID: "1"},
	}
	d, err := c.Evaluate(t.Context(), ask, client.EvaluateOptions{Explain: true})
	require.NoError(t, err)
	require.NotEmpty(t, d.Context.Reason)
	all, err := c.Evaluations(t.Context(), client.Batch{Evaluation: ask, Evaluations: []client.Evaluation{{}, {Resource: client.Entity{Type: "orders"}}}}, client.EvaluateOptions{})
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, d.Decision, all[0].Decision)
	m, err := c.Metadata(t.Context())
	require.NoError(t, err)
	require.Equal(t, "https://pdp.example.org"+client.EvaluationPath, m.Evaluation)
}

func TestBaseURLs(t *testing.T) {
	for _, bad := range []string{"", "localhost:8444", "ftp://x", "https://", "https://x?y", "https://x#y"} {
		_, err := client.New(client.Options{BaseURL: bad})
		require.True(t, errors.Is(err, client.ErrBaseURL), bad)
	}
}
