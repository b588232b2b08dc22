package admin

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// bodiesOfChanges are lists of changes that took long with a check that was not linear. size is the
// number of items in a list.
func bodiesOfChanges(size int) map[string]string {
	list := func(n int, item string) string {
		items := make([]string, n)
		for i := range items {
			items[i] = fmt.Sprintf(item, i)
		}
		return strings.Join(items, ",")
	}
	role := func(rest string) string { return `{"op":"put-role","role":{"name":"x",` + rest + `}}` }
	lists := map[string]string{
		"inherits":    role(`"inherits":[` + list(size, `"r%d"`) + `]`),
		"within":      `{"op":"grant","principal":"user:a","role":"reader","within":[` + list(size, `"r%d"`) + `]}`,
		"pairs":       role(`"permissions":[{"actions":[` + list(size/3, `"a:%d"`) + `],"resources":[` + list(size/3, `"r/%d/**"`) + `]}]`),
		"control":     role(`"permissions":[{"actions":[` + list(size/3, `"interlock:%d"`) + `],"resources":[` + list(size/3, `"roles/%d"`) + `]}]`),
		"conditions":  role(`"permissions":[` + list(size/8, `{"actions":["a"],"resources":["r"],"when":"now > timestamp('20%02d-01-01T00:00:00Z')"}`) + `]`),
		"permissions": role(`"permissions":[` + list(size/6, `{"actions":["a:%d"],"resources":["r/*/x"]}`) + `]`),
		"heirs":       role(`"inherits":[]`) + "," + list(size/7, `{"op":"put-role","role":{"name":"c%d","inherits":["x"]}}`),
		"grants":      list(size/7, `{"op":"grant","principal":"user:a","role":"reader","within":["r/%d"]}`),
		"patterns":    list(size/7, `{"op":"grant","principals":"user:%d/*","role":"reader"}`),
		"deletions":   list(size/7, `{"op":"delete-role","role":"r%d"}`),
		"revocations": list(size/7, `{"op":"revoke-certificate","sha256":"%064d"}`),
		"one role":    list(size/7, `{"op":"grant","principal":"user:n%d","role":"some"}`),
	}
	for name, changes := range lists {
		lists[name] = `{"changes":[` + changes + `]}`
	}
	return lists
}

// budget bounds the time for a body: a check that is quadratic in a body of half a megabyte took
// more than twenty seconds. The machine can be slow, and the race detector makes it slower.
func budget(size int) time.Duration { return 2*time.Second + time.Duration(size)*20*time.Microsecond }

// handler reads, checks and drafts a body of POST /v1/changes, for an author with full rights and
// for one with some.
func handler(t testing.TB) func(t *testing.T, body []byte) {
	file, err := policyfile.Parse("policy.yaml", []byte(`
roles:
  admin: {permissions: [{actions: ["interlock:**"], resources: ["**"]}]}
  some: {permissions: [{actions: ["interlock:*"], resources: ["roles/**", "roles/some", "roles/x", "certificates"]}]}
  reader: {permissions: [{actions: ["orders:read"], resources: ["orders/**"]}]}
grants:
  - {principal: "user:root", role: admin}
  - {principal: "user:some", role: some}`))
	require.NoError(t, err)
	memory, err := oplog.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	require.NoError(t, err)
	a := &api{}
	return func(t *testing.T, body []byte) {
		began := time.Now()
		r := httptest.NewRequest("POST", "/v1/changes", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		var doc client.Changes
		if err := web.ReadJSON(httptest.NewRecorder(), r, DefaultBodyLimit, &doc, web.KnownMembersOnly); err == nil {
			if changes, err := a.changesOf(context.Background(), doc.Changes); err == nil {
				for _, author := range []string{"user:root", "user:some"} {
					draft(memory, control.Author{Principal: policy.MustPrincipal(author)}, changes)
				}
			}
		}
		if took := time.Since(began); took > budget(len(body)) {
			t.Fatalf("a body of %d bytes took %v", len(body), took)
		}
	}
}

func draft(m *oplog.Memory, author control.Author, changes []policy.Change) {
	before, after := author.Preconditions(changes, time.Now)
	p := &oplog.Proposal{Change: oplog.Change{Changes: changes}, Before: before, After: after}
	_ = m.View(func(tip policy.View) { _, _ = p.Draft(tip) })
}

// SECURITY, line 23.
func TestChecksOfChangesAreLinear(t *testing.T) {
	handle := handler(t)
	for name, body := range bodiesOfChanges(60_000) {
		t.Run(name, func(t *testing.T) { handle(t, []byte(body)) })
	}
}

// FuzzAdminChanges has small seeds, because mutations of large ones are slow.
//
// SECURITY, line 23.
func FuzzAdminChanges(f *testing.F) {
	for _, body := range bodiesOfChanges(16) {
		f.Add([]byte(body))
	}
	f.Add([]byte(`{"changes":[{"op":"grant","principal":"user:a","role":"reader","expires":"2200-01-01T00:00:00Z"}]}`))
	f.Add([]byte(`{"changes":[{"op":"put-role","role":{"name":"admin","inherits":["admin"]}}]}`))
	f.Fuzz(handler(f))
}
