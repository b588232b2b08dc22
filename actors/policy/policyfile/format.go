package policyfile

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/interlock-authz/interlock/actors/policy"
)

// formatted is a policy in the shape and the order of a file.
type formatted struct {
	Roles  map[string]policy.RoleSpec `json:"roles"`
	Grants []policy.GrantSpec         `json:"grants"`
	names  []string
}

// sorted brings roles into the order of their names, and grants into that of holders,
// exact ones first, then of roles and limits.
func sorted(roles iter.Seq[*policy.Role], grants iter.Seq[policy.Grant]) formatted {
	f := formatted{Roles: map[string]policy.RoleSpec{}, Grants: []policy.GrantSpec{}}
	for r := range roles {
		spec := policy.SpecOfRole(r)
		spec.Name = ""
		f.Roles[r.Name()] = spec
		f.names = append(f.names, r.Name())
	}
	for g := range grants {
		f.Grants = append(f.Grants, policy.SpecOfGrant(&g))
	}
	slices.Sort(f.names)
	slices.SortStableFunc(f.Grants, func(a, b policy.GrantSpec) int {
		return cmp.Or(
			cmp.Compare(a.Principals, b.Principals), cmp.Compare(a.Principal, b.Principal),
			cmp.Compare(a.Role, b.Role), slices.Compare(a.Within, b.Within),
		)
	})
	return f
}

// FormatJSON writes a policy as a file in JSON, in an order that depends on the policy
// only. [Parse] of it gives the same roles and grants.
func FormatJSON(roles iter.Seq[*policy.Role], grants iter.Seq[policy.Grant]) []byte {
	f := sorted(roles, grants)
	data, err := json.Marshal(&f, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		panic("policy: a checked policy could not be written: " + err.Error())
	}
	return append(data, '\n')
}

// FormatYAML writes a policy as a file in YAML, in an order that depends on the policy
// only. [Parse] of it gives the same roles and grants.
func FormatYAML(roles iter.Seq[*policy.Role], grants iter.Seq[policy.Grant]) []byte {
	f := sorted(roles, grants)
	w := &yamlWriter{}
	w.roles(&f)
	w.grants(&f)
	return []byte(w.String())
}

type yamlWriter struct{ strings.Builder }

func (w *yamlWriter) roles(f *formatted) {
	if len(f.names) == 0 {
		w.WriteString("roles: {}\n")
		return
	}
	w.WriteString("roles:\n")
	for _, name := range f.names {
		r := f.Roles[name]
		w.WriteString("  " + quoteYAML(name, true))
		if len(r.Inherits)+len(r.Permissions) == 0 {
			w.WriteString(": {}\n")
			continue
		}
		w.WriteString(":\n")
		w.list("    ", "inherits", r.Inherits)
		if len(r.Permissions) > 0 {
			w.WriteString("    permissions:\n")
		}
		for i := range r.Permissions {
			w.permission(&r.Permissions[i])
		}
	}
}

func (w *yamlWriter) permission(p *policy.PermissionSpec) {
	lead, more := "      - ", "        "
	if p.Effect != "" {
		w.text(lead, "effect", p.Effect)
		lead = more
	}
	w.list(lead, "actions", p.Actions)
	w.list(more, "resources", p.Resources)
	w.text(more, "when", p.When)
}

func (w *yamlWriter) grants(f *formatted) {
	if len(f.Grants) == 0 {
		w.WriteString("grants: []\n")
		return
	}
	w.WriteString("grants:\n")
	for i := range f.Grants {
		g := &f.Grants[i]
		w.text("  - ", "principal", g.Principal)
		w.text("  - ", "principals", g.Principals)
		w.text("    ", "role", g.Role)
		w.list("    ", "within", g.Within)
		if g.Expires != "" {
			w.WriteString("    expires: " + g.Expires + "\n")
		}
		w.text("    ", "reason", g.Reason)
	}
}

// text writes a field, nothing if the text is empty.
func (w *yamlWriter) text(lead, field, text string) {
	if text != "" {
		w.WriteString(lead + field + ": " + quoteYAML(text, false) + "\n")
	}
}

func (w *yamlWriter) list(lead, field string, items []string) {
	if len(items) == 0 {
		return
	}
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = quoteYAML(s, true)
	}
	w.WriteString(lead + field + ": [" + strings.Join(quoted, ", ") + "]\n")
}

// quoteYAML returns the text as it stands if YAML reads it as the same string, else in
// quotes. In a flow collection, and as a key, fewer texts can stand so.
func quoteYAML(s string, flow bool) string {
	printable := true
	for _, c := range s {
		printable = printable && unicode.IsPrint(c)
	}
	switch {
	case printable && isPlain(s, flow):
		return s
	case printable && !strings.Contains(s, "'"):
		return "'" + s + "'"
	default:
		return doubleQuoted(s)
	}
}

// isPlain is on the safe side: a letter, '_' or '/' first, no word that means something.
func isPlain(s string, flow bool) bool {
	switch strings.ToLower(s) {
	case "", "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return false
	}
	if c := s[0]; c != '_' && c != '/' && (c|0x20 < 'a' || c|0x20 > 'z') {
		return false
	}
	if strings.Contains(s, ": ") || strings.Contains(s, " #") || strings.HasSuffix(s, ":") || strings.HasSuffix(s, " ") {
		return false
	}
	return !flow || !strings.ContainsAny(s, " ,[]{}\"'#&!|>%@`?")
}

func doubleQuoted(s string) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(c):
			b.WriteRune(c)
		default:
			b.WriteString(`\U`)
			for shift := 28; shift >= 0; shift -= 4 {
				b.WriteByte(digits[c>>shift&0xf])
			}
		}
	}
	b.WriteByte('"')
	return b.String()
}
