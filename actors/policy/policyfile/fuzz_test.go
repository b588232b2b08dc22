package policyfile_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

const seedJSON = `{"roles": [{"name": "r", "permissions": [{"actions": ["a:*"], "resources": ["**"], "when": "true"}]}],
 "grants": [{"principal": "user:alice", "role": "r", "reason": "é\n"}, {"principals": "user:*", "role": "r"}]}`

func FuzzPolicyFileYAML(f *testing.F) {
	for _, s := range []string{
		policytest.SeedYAML, seedJSON, "{}", "roles: {}\ngrants: []\n", "---\nroles:\n- name: a\n...\n", "roles: &a {}\ngrants: *a\n",
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
			return // package yaml decodes into fields only what has their types
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
func checkFuzzedFile(t *testing.T, name string, data []byte) *policyfile.File {
	file, err := policyfile.Parse(name, data)
	if err != nil {
		for _, e := range fileErrors(t, err) {
			if lines := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) + 1; e.Line > lines {
				t.Fatalf("an error on line %d of %d: %v", e.Line, lines, err)
			}
		}
		return nil
	}
	text := policyfile.FormatYAML(file.AllRoles(), file.AllGrants())
	for other, data := range map[string][]byte{
		"again.yaml": text, "again.json": policyfile.FormatJSON(file.AllRoles(), file.AllGrants()),
	} {
		again, err := policyfile.Parse(other, data)
		if err != nil {
			t.Fatalf("%v in what was written:\n%s", err, data)
		}
		if changes := policyfile.Diff(file.AllRoles(), file.AllGrants(), again); len(changes) > 0 {
			t.Fatalf("%s differs: %v\n%s", other, changes, data)
		}
		if out := policyfile.FormatYAML(again.AllRoles(), again.AllGrants()); !bytes.Equal(out, text) {
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
		file, err := policyfile.ReadLines("p.ndjson", bytes.NewReader(data))
		same, counted := asJSON(data)
		if counted {
			other, otherErr := policyfile.Parse("p.json", same)
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

func checkLinesAgain(t *testing.T, file *policyfile.File) {
	text := linesOf(t, file)
	again, err := readLines(text)
	if err != nil {
		t.Fatalf("%v in what was written:\n%s", err, text)
	}
	requireSame(t, file, again)
	if out := linesOf(t, again); out != text {
		t.Fatalf("not stable:\n%s\n%s", text, out)
	}
	var tally policyfile.LineTally
	if _, err := tally.Write([]byte(text)); err != nil || tally.Check("p.ndjson") != nil {
		t.Fatalf("what was written is not whole: %v\n%s", tally.Check("p.ndjson"), text)
	}
}
