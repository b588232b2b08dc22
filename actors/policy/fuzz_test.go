package policy_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/goccy/go-yaml"

	"github.com/interlock-authz/interlock/actors/policy"
)

func FuzzPolicyPrincipal(f *testing.F) {
	for _, s := range []string{
		"spiffe://interlock.test/alice", "user:alice", "user:", ":x", "spiffe://td", "SPIFFE://td/x",
		"spiffe://td/a/../b", "dns:a.example", "user:a\x00", "user:\u202e", "user:ü", "user:\xff",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := policy.ParsePrincipal(s)
		if (err == nil) != principalOracle(s) {
			t.Fatalf("%q: %v", s, err)
		}
		if err != nil {
			if !errors.Is(err, policy.ErrMalformed) || !p.IsZero() {
				t.Fatalf("%q: %v, %v", s, p, err)
			}
			return
		}
		again, err := policy.ParsePrincipal(p.String())
		if err != nil || again != p || p.String() != s {
			t.Fatalf("%q became %q: %v", s, p, err)
		}
	})
}

func FuzzPolicyPattern(f *testing.F) {
	f.Add("orders:*", "orders:read")
	f.Add("orders/**", "orders")
	f.Add("interlock:**", "interlock:grant")
	f.Add("spiffe://td/ns/*/sa/*", "spiffe://td/ns/a/sa/b")
	f.Add("user:**/x", "user:a")
	f.Add("*/**", "a/b/c")
	f.Add("user:*", "user:a")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if a, err := policy.ParseActionPattern(pattern); err == nil {
			if want := actionOracle(pattern, name); a.Matches(name) != want {
				t.Fatalf("action pattern %q on %q: want %v", pattern, name, want)
			}
		} else if !errors.Is(err, policy.ErrMalformed) {
			t.Fatal(err)
		}
		if r, err := policy.ParseResourcePattern(pattern); err == nil {
			if want := matchOracle(pattern, name, "/"); r.Matches(name) != want {
				t.Fatalf("resource pattern %q on %q: want %v", pattern, name, want)
			}
			if !r.Covers(r) || !r.Overlaps(r) {
				t.Fatalf("%q does not cover itself", pattern)
			}
			if n, err := policy.ParseResourcePattern(name); err == nil && r.Covers(n) && !r.Overlaps(n) {
				t.Fatalf("%q covers %q and does not overlap it", pattern, name)
			}
		}
		checkPrincipalPattern(t, pattern, name)
	})
}

// checkPrincipalPattern compares a pattern with the oracle, by itself and in a table.
func checkPrincipalPattern(t *testing.T, pattern, name string) {
	p, err := policy.ParsePrincipalPattern(pattern)
	if err != nil {
		return
	}
	who, err := policy.ParsePrincipal(name)
	if err != nil {
		return
	}
	pk, pn, _ := strings.Cut(pattern, ":")
	k, n, _ := strings.Cut(name, ":")
	want := pk == k && matchOracle(pn, n, "/")
	table, err := policy.NewTable(1, []*policy.Role{mustRole(t, "r", policy.RoleSpec{})}, []policy.Grant{{Principals: p, Role: "r"}})
	if err != nil {
		t.Fatal(err)
	}
	if p.Matches(who) != want || table.HasPatternGrant(who) != want {
		t.Fatalf("principal pattern %q on %q: want %v", pattern, name, want)
	}
}

const seedYAML = `roles:
  order-reader:
    permissions:
      - actions: [orders:read, orders:list]
        resources: [orders/**]
  order-writer:
    inherits: [order-reader]
    permissions:
      - actions: [orders:write]
        resources: [orders/**]
        when: resource.properties.amount < 1000
      - effect: deny
        actions: ["orders:*"]
        resources: [orders/frozen/**]
grants:
  - principal: spiffe://interlock.test/alice      # exactly one
    role: order-writer
    within: [orders/eu/**]
    expires: 2027-01-01T00:00:00Z
    reason: on call in the winter
  - principals: spiffe://interlock.test/ns/*/sa/* # a pattern has a field of its own
    role: order-reader
`

const seedJSON = `{"roles": [{"name": "r", "permissions": [{"actions": ["a:*"], "resources": ["**"], "when": "true"}]}],
 "grants": [{"principal": "user:alice", "role": "r", "reason": "é\n"}, {"principals": "user:*", "role": "r"}]}`

func FuzzPolicyFileYAML(f *testing.F) {
	for _, s := range []string{
		seedYAML, seedJSON, "{}", "roles: {}\ngrants: []\n", "---\nroles:\n- name: a\n...\n", "roles: &a {}\ngrants: *a\n",
		"roles:\n  \"a\": {inherits: []}\n", "grants:\n- principal: user:a\n  role: x\n  reason: |\n    two\n    lines\n",
		"roles: {a: {}}\ngrants: [{principal: 'user:it''s', role: \"a\", reason: \"\\u00e9\\n\"}]",
		"roles:\n  a: {}\ngrants:\n- principal: user:a\n  role: a\n  reason: >-\n    folded\n    text\n",
		"roles:\n  a:\n    permissions:\n      - when: true\n        &&", "? a\n: b\n", "%YAML 1.2\n---\n{}", "!!map {}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file := checkFuzzedFile(t, "p.yaml", data)
		if file == nil {
			return
		}
		var other struct {
			Grants []policy.GrantSpec
		}
		if err := yaml.Unmarshal(data, &other); err != nil {
			return // goccy's parser refuses some that YAML allows, as ours does others
		}
		for i, g := range file.Grants {
			spec := policy.SpecOfGrant(&g)
			if i >= len(other.Grants) || spec.Role != other.Grants[i].Role || spec.Reason != other.Grants[i].Reason ||
				!slices.Equal(spec.Within, other.Grants[i].Within) {
				t.Fatalf("two readers disagree on grant %d: %+v, %+v\n%s", i, spec, other.Grants, data)
			}
		}
	})
}

func FuzzPolicyFileJSON(f *testing.F) {
	for _, s := range []string{
		seedJSON, "{}", `{"roles":{"a":{},"a":{}}}`, `{"Roles":{}}`, `{"roles":null}`, `{} {}`, `{"roles":{"a":{"inherits":["a"]}}}`,
		`{"grants":[{"principal":"user:\ud83d\ude00","role":"x"}]}`, strings.Repeat("[", 200),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkFuzzedFile(t, "p.json", data) })
}

// checkFuzzedFile parses, and checks that what is written of it is read as the same, in
// both forms, and that errors have a place. It returns nil if there are errors.
func checkFuzzedFile(t *testing.T, name string, data []byte) *policy.File {
	file, err := policy.ParseFile(name, data)
	if err != nil {
		for _, e := range fileErrors(t, err) {
			if lines := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) + 1; e.Line > lines {
				t.Fatalf("an error on line %d of %d: %v", e.Line, lines, err)
			}
		}
		return nil
	}
	text := policy.FormatYAML(file.AllRoles(), file.AllGrants())
	for other, data := range map[string][]byte{
		"again.yaml": text, "again.json": policy.FormatJSON(file.AllRoles(), file.AllGrants()),
	} {
		again, err := policy.ParseFile(other, data)
		if err != nil {
			t.Fatalf("%v in what was written:\n%s", err, data)
		}
		if changes := policy.Diff(file.AllRoles(), file.AllGrants(), again); len(changes) > 0 {
			t.Fatalf("%s differs: %v\n%s", other, changes, data)
		}
		if out := policy.FormatYAML(again.AllRoles(), again.AllGrants()); !bytes.Equal(out, text) {
			t.Fatalf("not stable:\n%s\n%s", text, out)
		}
	}
	if _, err := file.Table(1); err != nil {
		t.Fatal(err)
	}
	return file
}

// FuzzPolicyLines checks that what is accepted, written and read again is the same, and
// that lines are taken exactly if a file of JSON with the same roles and grants is.
func FuzzPolicyLines(f *testing.F) {
	const a, end = `{"role":{"name":"a"}}` + "\n", `{"end":{"roles":1,"grants":1,"revision":3}}` + "\n"
	for _, s := range []string{
		"", end, a + end, strings.Repeat("{", 200),
		a + `{"grant":{"principal":"user:x","role":"a","within":["p","q/*"],"expires":"2030-01-01T00:00:00.5Z","reason":"é"}}` + "\n" + end,
		a + `{"grant":{"principals":"user:*","role":"a"}}` + "\r\n" + end, a + `{"grant":{"principal":"user:x","role":"b"}}` + "\n" + end,
		a + ` {"gr\u0061nt":{"reason":"\ud83d\ude00","role":"\u0061","principal":"user:\u00e9"}} ` + "\n" + end,
		a + `{"grant":{"principal":"user:x","role":"a","within":[null]}}` + "\n" + end, a + a + end,
		`{"role":{"name":"a","inherits":["a"]}}` + "\n" + `{"end":{"roles":1,"grants":0}}`,
		`{"role":{"name":"a","permissions":[{"actions":["x"],"resources":["**"],"when":"true"}]}}` + "\n" + `{"end":{"roles":1,"grants":0}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := policy.ReadLines("p.ndjson", bytes.NewReader(data))
		same, counted := asJSON(data)
		if counted {
			other, otherErr := policy.ParseFile("p.json", same)
			if (err == nil) != (otherErr == nil) {
				t.Fatalf("lines: %v, JSON: %v\n%s", err, otherErr, data)
			}
			if err == nil {
				requireSame(t, other, file)
			}
		}
		if err != nil {
			for _, e := range fileErrors(t, err) {
				if lines := bytes.Count(data, []byte("\n")) + 1; e.Line < 1 || e.Line > lines {
					t.Fatalf("an error on line %d of %d: %v", e.Line, lines, err)
				}
			}
			return
		}
		if !counted {
			t.Fatalf("taken, and not well formed:\n%s", data)
		}
		checkLinesAgain(t, file)
	})
}

// asJSON makes a file of JSON of lines, if they are objects of one member each, roles first,
// and the end counts them.
func asJSON(data []byte) (text []byte, counted bool) {
	var roles, grants []string
	lines := bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
	for i, line := range lines {
		var member map[string]jsontext.Value
		if json.Unmarshal(line, &member) != nil || len(member) != 1 {
			return nil, false
		}
		switch {
		case i == len(lines)-1:
			var end struct {
				Roles    *uint64 `json:"roles"`
				Grants   *uint64 `json:"grants"`
				Revision *uint64 `json:"revision"`
			}
			if member["end"] == nil || json.Unmarshal(member["end"], &end, json.RejectUnknownMembers(true)) != nil {
				return nil, false
			}
			counted = end.Roles != nil && end.Grants != nil && *end.Roles == uint64(len(roles)) && *end.Grants == uint64(len(grants)) &&
				!bytes.Contains(member["end"], []byte("null"))
		case member["role"] != nil && len(grants) == 0:
			roles = append(roles, string(member["role"]))
		case member["grant"] != nil:
			grants = append(grants, string(member["grant"]))
		default:
			return nil, false
		}
	}
	return []byte(`{"roles":[` + strings.Join(roles, ",") + `],"grants":[` + strings.Join(grants, ",") + `]}`), counted
}

func checkLinesAgain(t *testing.T, file *policy.File) {
	text := linesOf(t, file)
	again, err := readLines(text)
	if err != nil {
		t.Fatalf("%v in what was written:\n%s", err, text)
	}
	requireSame(t, file, again)
	if out := linesOf(t, again); out != text {
		t.Fatalf("not stable:\n%s\n%s", text, out)
	}
	var tally policy.LineTally
	if _, err := tally.Write([]byte(text)); err != nil || tally.Check("p.ndjson") != nil {
		t.Fatalf("what was written is not whole: %v\n%s", tally.Check("p.ndjson"), text)
	}
}
