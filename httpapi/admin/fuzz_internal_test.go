package admin

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"runtime"
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

// largeChanges are bodies of half a megabyte and more that took long with a check that was not
// linear.
func largeChanges() map[string]string {
	list := func(n int, item string) string {
		items := make([]string, n)
		for i := range items {
			items[i] = fmt.Sprintf(item, i)
		}
		return strings.Join(items, ",")
	}
	role := func(name, rest string) string {
		return `{"op":"put-role","role":{"name":"` + name + `",` + rest + `}}`
	}
	return map[string]string{
		"inherits":    role("x", `"inherits":[`+list(60_000, `"r%d"`)+`]`),
		"within":      `{"op":"grant","principal":"user:a","role":"reader","within":[` + list(60_000, `"r%d"`) + `]}`,
		"pairs":       role("x", `"permissions":[{"actions":[`+list(20_000, `"a:%d"`)+`],"resources":[`+list(20_000, `"r/%d/**"`)+`]}]`),
		"control":     role("x", `"permissions":[{"actions":[`+list(20_000, `"interlock:%d"`)+`],"resources":[`+list(20_000, `"roles/%d"`)+`]}]`),
		"conditions":  role("x", `"permissions":[`+list(8_000, `{"actions":["a"],"resources":["r"],"when":"now > timestamp('20%02d-01-01T00:00:00Z')"}`)+`]`),
		"permissions": role("x", `"permissions":[`+list(10_000, `{"actions":["a:%d"],"resources":["r/*/x"]}`)+`]`),
		"chain":       role("r0", `"inherits":[]`) + "," + list(9_000, `{"op":"put-role","role":{"name":"c%d","inherits":["r0"]}}`),
		"grants":      list(9_000, `{"op":"grant","principal":"user:a","role":"reader","within":["r/%d"]}`),
		"patterns":    list(9_000, `{"op":"grant","principals":"user:%d/*","role":"reader"}`),
		"deletions":   list(9_000, `{"op":"delete-role","role":"r%d"}`),
		"revocations": list(9_000, `{"op":"revoke-certificate","sha256":"%064d"}`),
	}
}

// budget bounds the time for a body: a check that is quadratic in a body of half a megabyte took
// more than twenty seconds. The machine can be slow, and the race detector makes it slower.
func budget(size int) time.Duration { return 2*time.Second + time.Duration(size)*20*time.Microsecond }

// FuzzAdminChanges reads, checks and drafts bodies of POST /v1/changes.
//
// SECURITY, line 23.
func FuzzAdminChanges(f *testing.F) {
	for _, changes := range largeChanges() {
		f.Add([]byte(`{"changes":[` + changes + `]}`))
	}
	f.Add([]byte(`{"changes":[{"op":"grant","principal":"user:a","role":"reader","expires":"2200-01-01T00:00:00Z"}]}`))
	f.Add([]byte(`{"changes":[{"op":"put-role","role":{"name":"admin","inherits":["admin"]}}]}`))
	file, err := policyfile.Parse("policy.yaml", []byte(`
roles:
  admin: {permissions: [{actions: ["interlock:**"], resources: ["**"]}]}
  some: {permissions: [{actions: ["interlock:*"], resources: ["roles/**", "certificates"]}]}
  reader: {permissions: [{actions: ["orders:read"], resources: ["orders/**"]}]}
grants:
  - {principal: "user:root", role: admin}
  - {principal: "user:some", role: some}`))
	require.NoError(f, err)
	memory, err := oplog.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	require.NoError(f, err)
	a := &api{}
	f.Fuzz(func(t *testing.T, body []byte) {
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
			buf := make([]byte, 1<<16)
			t.Fatalf("a body of %d bytes took %v\n%s", len(body), took, buf[:runtime.Stack(buf, false)])
		}
	})
}

func draft(m *oplog.Memory, author control.Author, changes []policy.Change) {
	before, after := author.Preconditions(changes, time.Now)
	p := &oplog.Proposal{Change: oplog.Change{Changes: changes}, Before: before, After: after}
	_ = m.View(func(tip policy.View) { _, _ = p.Draft(tip) })
}
