package policyfile_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

// fileErrors returns the errors that were joined. All have to be of files.
func fileErrors(t testing.TB, err error) []*policyfile.Error {
	t.Helper()
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	found := make([]*policyfile.Error, len(all))
	for i, e := range all {
		f, ok := e.(*policyfile.Error)
		require.True(t, ok, "%T: %v", e, e)
		require.NotNil(t, f.Err)
		found[i] = f
	}
	return found
}

type fault struct {
	at    string // line:column: field
	cause error
}

func requireFaults(t *testing.T, name, text string, want ...fault) {
	t.Helper()
	file, err := policyfile.Parse(name, []byte(text))
	require.Error(t, err)
	require.Nil(t, file)
	var got, wanted []string
	for i, e := range fileErrors(t, err) {
		got = append(got, fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Field))
		require.Equal(t, name, e.File)
		if i < len(want) {
			require.ErrorIs(t, e, want[i].cause)
		}
	}
	for _, w := range want {
		wanted = append(wanted, w.at)
	}
	require.Equal(t, wanted, got, "%v", err)
}

func TestErrorsOfYAMLHaveTheirPlace(t *testing.T) {
	requireFaults(t, "policy.yaml", `roles:
  order-reader:
    permissions:
      - actions: [orders:read, "o*d"]
        resources: [orders/**/x]
        effect: maybe
      - actions: []
        when: resource.amount < 1
  broken:
    inherits: [nobody, order-reader, ring-a]
  ring-a: {inherits: [ring-b]}
  ring-b:
    inherits:
    - ring-a
    permissons: []
    inherits: []
  "bad name": {}
  ring-c:
    inherits: [ring-d]
  ring-d:
    inherits:
      - ring-c
grants:
  - principal: alice
    role: order-reader
  - principal: user:alice
    principals: user:*
    role: order-reader
  - {principals: 'user:*', role: missing, expires: 2027-01-01}
  - {principals: 'user:*', role: missing, expires: 9999-01-01T00:00:00Z}
  - {principals: 'user:*', role: missing, expires: 2027-01-01T00:00:00Z}
  - role: order-reader
  - principal: user:bob
    within: [a/**, "*x"]
  - principal: user:bob
    role: order-reader
    within: [a, b]
  - principal: user:bob
    role: order-reader
    within: [b, a]
    reason: twice
  - principal: 17
    role: order-reader
    within: a
  - 5
extra: 1
`,
		fault{"4:32: roles.order-reader.permissions[0].actions[1]", policy.ErrMalformed},
		fault{"5:21: roles.order-reader.permissions[0].resources[0]", policy.ErrMalformed},
		fault{"6:17: roles.order-reader.permissions[0].effect", policy.ErrInvalid},
		fault{"7:9: roles.order-reader.permissions[1].resources", policy.ErrInvalid},
		fault{"7:18: roles.order-reader.permissions[1].actions", policy.ErrInvalid},
		fault{"8:15: roles.order-reader.permissions[1].when", policy.ErrCondition},
		fault{"10:16: roles.broken.inherits[0]", policy.ErrUnknownRole},
		fault{"14:7: roles.ring-b.inherits[0]", policy.ErrCycle},
		fault{"15:5: roles.ring-b.permissons", policy.ErrInvalid},
		fault{"16:5: roles.ring-b.inherits", policy.ErrInvalid},
		fault{"17:3: roles.bad name", policy.ErrMalformed},
		fault{"22:9: roles.ring-d.inherits[0]", policy.ErrCycle},
		fault{"24:16: grants[0].principal", policy.ErrMalformed},
		fault{"27:17: grants[1].principals", policy.ErrInvalid},
		fault{"29:34: grants[2].role", policy.ErrUnknownRole},
		fault{"29:52: grants[2].expires", policy.ErrInvalid},
		fault{"30:34: grants[3].role", policy.ErrUnknownRole},
		fault{"30:52: grants[3].expires", policy.ErrInvalid},
		fault{"31:34: grants[4].role", policy.ErrUnknownRole},
		fault{"32:5: grants[5].principal", policy.ErrInvalid},
		fault{"33:5: grants[6].role", policy.ErrMalformed},
		fault{"34:20: grants[6].within[1]", policy.ErrMalformed},
		fault{"38:5: grants[8]", policy.ErrInvalid},
		fault{"42:16: grants[9].principal", policy.ErrInvalid},
		fault{"44:13: grants[9].within", policy.ErrInvalid},
		fault{"45:5: grants[10]", policy.ErrInvalid},
		fault{"46:1: extra", policy.ErrInvalid},
	)
}

func TestErrorsOfJSONHaveTheirPlace(t *testing.T) {
	requireFaults(t, "policy.json", `{"roles": [
  {"name": "é", "inherits": []},
  {"name": "a", "inherits": ["b"], "permissions": [
    {"actions": ["x", "*é"], "resources": ["**"], "when": "1"}]},
  {"name": "b", "inherits": ["a"]},
  {"name": "b"},
  {"inherits": []},
  {"name": 1},
  "c", null
 ],
 "grants": [{"principal": "user:é", "role": "zz"}, {"principal": "user:x", "role": null}],
 "Grants": [], "grants": []
}`,
		fault{"2:12: roles[0].name", policy.ErrMalformed},
		fault{"4:23: roles[1].permissions[0].actions[1]", policy.ErrMalformed},
		fault{"4:59: roles[1].permissions[0].when", policy.ErrCondition},
		fault{"5:30: roles[2].inherits[0]", policy.ErrCycle},
		fault{"6:12: roles[3]", policy.ErrInvalid},
		fault{"7:3: roles[4]", policy.ErrInvalid},
		fault{"8:12: roles[5].name", policy.ErrInvalid},
		fault{"9:3: roles[6]", policy.ErrInvalid},
		fault{"9:8: roles[7]", policy.ErrInvalid},
		fault{"11:45: grants[0].role", policy.ErrUnknownRole},
		fault{"11:84: grants[1].role", policy.ErrInvalid},
		fault{"12:2: Grants", policy.ErrInvalid},
		fault{"12:16: grants", policy.ErrInvalid},
	)
	requireFaults(t, "policy.json", `{"roles":{"a":{"inherits":["b"]},
"b":{"inherits":["a"]}, "b":{}, "c":{"name":"c"}}}`,
		fault{"2:18: roles.b.inherits[0]", policy.ErrCycle},
		fault{"2:25: roles.b", policy.ErrInvalid},
		fault{"2:38: roles.c.name", policy.ErrInvalid},
	)
}

func TestValuesThatAreMissing(t *testing.T) {
	requireFaults(t, "policy.yaml", "roles:\ngrants:\n", fault{"1:7: roles", policy.ErrInvalid}, fault{"2:8: grants", policy.ErrInvalid})
	requireFaults(t, "policy.yaml", "roles:\n  a:\n  b: ~\n  c: []\ngrants:\n  -\n  - {}\n  - principal: ''\n    role: {}\n    reason: null\n    within: []",
		fault{"2:5: roles.a", policy.ErrInvalid}, fault{"3:6: roles.b", policy.ErrInvalid}, fault{"4:6: roles.c", policy.ErrInvalid},
		fault{"6:4: grants[0]", policy.ErrInvalid}, fault{"7:5: grants[1].principal", policy.ErrInvalid},
		fault{"7:5: grants[1].role", policy.ErrMalformed},
		fault{"8:16: grants[2].principal", policy.ErrInvalid}, fault{"9:11: grants[2].role", policy.ErrInvalid},
		fault{"10:13: grants[2].reason", policy.ErrInvalid}, fault{"11:13: grants[2].within", policy.ErrInvalid},
	)
	requireFaults(t, "policy.yaml", "[]", fault{"1:1: ", policy.ErrInvalid})
	requireFaults(t, "policy.json", "7", fault{"1:1: ", policy.ErrInvalid})
	requireFaults(t, "policy.json", `{"roles": "a"}`, fault{"1:11: roles", policy.ErrInvalid})
}

func TestFilesThatAreNotWellFormed(t *testing.T) {
	for _, c := range []struct{ name, text, at string }{
		{"p.json", "", "1:1"},
		{"p.json", "{\"roles\":\n {},}", "2:5"},
		{"p.json", "{\"roles\":\n {} \"x\"}", "2:5"},
		{"p.json", "{} \n {}", "2:2"},
		{"p.json", "{\n  \"é\": tru}", "2:11"},
		{"p.json", "{'roles': {}}", "1:2"},
		{"p.json", "// no\n{}", "1:1"},
		{"p.yaml", "", "1:1"},
		{"p.yaml", "# nothing\n---\n", "1:1"},
		{"p.yaml", "roles: {}\n---\ngrants: []\n", "2:1"},
		{"p.yaml", "roles: {}\n...\n---\n{}\n", "3:1"},
		{"p.yaml", "roles: &all {}\n", "1:8"},
		{"p.yaml", "roles:\n  a: *b\n", "2:6"},
		{"p.yaml", "roles:\n  a:\n    <<: {}\n", "3:5"},
		{"p.yaml", "roles:\n  a:\n    inherits: [**]\n", "3:16"},
		{"p.yaml", "roles: !!map {}\n", "1:8"},
		{"p.yaml", "%YAML 1.2\n---\n{}\n", "1:1"},
		{"p.yaml", "roles: {a: {}\n", "1:1"},
		{"p.yaml", "roles: [a,, b]\n", "1:1"},
		{"p.yaml", "roles:\n\ta: {}\n", "2:1"},
		{"p.yaml", "roles: {1: {}}\n", "1:9"},
		{"p.yaml", "1: {}\n", "1:1"},
		{"p.yaml", "roles:\n  a: {}\n b: {}\n", "2:3"},
		{"p.yaml", "roles:\n  a: {}\n    b: {}\n", "1:1"},
		{"p.yaml", "roles: a: b\n", "1:1"},
		{"p.yaml", "roles: - a\n", "1:1"},
		{"p.yaml", "roles: {}\nroles\n", "2:1"},
		{"p.yaml", "grants:\n  - a\n - b\n", "2:3"},
		{"p.yaml", "grants:\n- \"a\"\n  - b\n", "2:1"},
		{"p.yaml", "roles: {", "1:1"},
		{"p.yaml", "roles: [", "1:1"},
		{"p.yaml", "roles: {[]: 1}\n", "1:9"},
		{"p.yaml", "roles: [\n[a, b],\n", "2:1"},
		{"p.yaml", "roles: 'a\n", "2:1"},
		{"p.yaml", "roles: @a\n", "1:1"},
		{"p.yaml", "roles: {}]\n", "1:1"},
	} {
		_, err := policyfile.Parse(c.name, []byte(c.text))
		var e *policyfile.Error
		require.ErrorAs(t, err, &e, c.text)
		require.ErrorIs(t, err, policyfile.ErrSyntax, c.text)
		require.Equal(t, c.at, fmt.Sprintf("%d:%d", e.Line, e.Column), "%s\n%v", c.text, err)
	}
	_, err := policyfile.Parse("p.yaml", []byte("roles: {} # \xff"))
	require.ErrorIs(t, err, policyfile.ErrSyntax)
	require.EqualError(t, err, "p.yaml: syntax error: the file is not valid UTF-8")
}

func TestTheTextOfAFileError(t *testing.T) {
	_, err := policyfile.Parse("policy.yaml", []byte("roles:\n  a:\n    inherits: [b]\n"))
	require.EqualError(t, err, `policy.yaml:3:16: roles.a.inherits[0]: unknown role "b"`)
}

// What a policy file may not have does not keep Parse from reporting all other errors.
func TestRefusedYAMLIsReportedWithAllOtherErrors(t *testing.T) {
	requireFaults(t, "policy.yaml", `roles:
  a: &all {inherits: [nobody]}
  b:
    <<: {}
    inherits: !!seq [a]
    permissions: 5
    inherits: []
  c: {inherits: [nobody], permissions: [{actions: [x], resources: ["*y"]}]}
  1: {}
grants:
  - {principals: 7, role: zz, within: [a, a, "*x"], expires: never}
`,
		fault{"2:6: roles.a", policyfile.ErrSyntax},
		fault{"4:5: roles.b.<<", policyfile.ErrSyntax},
		fault{"5:15: roles.b.inherits", policyfile.ErrSyntax},
		fault{"6:18: roles.b.permissions", policy.ErrInvalid},
		fault{"7:5: roles.b.inherits", policy.ErrInvalid},
		fault{"8:18: roles.c.inherits[0]", policy.ErrUnknownRole},
		fault{"8:68: roles.c.permissions[0].resources[0]", policy.ErrMalformed},
		fault{"9:3: roles.1", policyfile.ErrSyntax},
		fault{"11:18: grants[0].principals", policy.ErrInvalid},
		fault{"11:27: grants[0].role", policy.ErrUnknownRole},
		fault{"11:43: grants[0].within[1]", policy.ErrInvalid},
		fault{"11:46: grants[0].within[2]", policy.ErrMalformed},
		fault{"11:62: grants[0].expires", policy.ErrInvalid},
	)
}

// Hostile files are refused, fast and without much memory.
func TestHostileFiles(t *testing.T) {
	deep := map[string]string{
		"flow.yaml":     strings.Repeat("[", 1<<17),
		"maps.yaml":     strings.Repeat("{a: ", 1<<18),
		"dashes.yaml":   strings.Repeat("- ", 1<<18),
		"list.json":     strings.Repeat("[", 1<<17),
		"objects.json":  strings.Repeat(`{"a":`, 1<<17),
		"large.json":    strings.Repeat(" ", policyfile.MaxSize+1),
		"large.yaml":    strings.Repeat(" ", policyfile.MaxSize+1),
		"indents.yaml":  indented(200),
		"comments.yaml": strings.Repeat("# x\n", 1<<18) + strings.Repeat("[", 1<<15),
		"keys.yaml":     strings.Repeat("? ", 1<<18),
		"blanks2.yaml":  strings.Repeat("\n", 1<<17) + strings.Repeat("[", 1<<15),
	}
	if os.Getenv("INTERLOCK_SOAK") != "" {
		deep["marks.yaml"] = strings.Repeat("[", 5<<20)
		deep["values.json"] = "[" + strings.Repeat("1,", 5<<20) + "1]"
	}
	for name, text := range deep {
		data := []byte(text)
		var before, after runtime.MemStats

		runtime.ReadMemStats(&before)
		_, err := policyfile.Parse(name, data)
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, policyfile.ErrTooLarge, name)

		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2<<30), name)
	}
}

func indented(depth int) string {
	var b bytes.Buffer
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestManyErrorsAreCutShort(t *testing.T) {
	_, err := policyfile.Parse("p.json", []byte(`{"grants":[`+strings.Repeat("1,", 5000)+`1]}`))
	require.Len(t, fileErrors(t, err), 1000)
}

func TestShapesOfFiles(t *testing.T) {
	want := policyfile.FormatYAML(policytest.ParseYAML(t, policytest.SeedYAML).AllRoles(), policytest.ParseYAML(t, policytest.SeedYAML).AllGrants())
	for name, text := range map[string]string{
		"crlf.yaml": strings.ReplaceAll(policytest.SeedYAML, "\n", "\r\n"),
		"bom.yaml":  "\ufeff" + policytest.SeedYAML,
		"doc.yaml":  "---\n" + policytest.SeedYAML + "...\n",
		"list.yaml": `grants:
- principals: "spiffe://interlock.test/ns/*/sa/*"
  role: order-reader
- { principal: 'spiffe://interlock.test/alice', role: order-writer, within: [ 'orders/eu/**', ],
    expires: "2027-01-01T01:00:00+01:00", reason: "on call
      in the winter" }
roles:
- name: order-writer
  permissions:
  -
    when: >-
      resource.properties.amount
      < 1000
    resources:
    - orders/**
    actions:
      - "orders\u003awrite"
  - effect: deny
    actions: [orders:*]
    resources: [orders/frozen/**]
  inherits: [order-reader]
- permissions: [{actions: ["orders:read", 'orders:list'], resources: [orders/**]}]
  name: order-reader
`,
	} {
		f, err := policyfile.Parse(name, []byte(text))
		require.NoError(t, err, name)
		require.Equal(t, string(want), string(policyfile.FormatYAML(f.AllRoles(), f.AllGrants())), name)
	}
}
