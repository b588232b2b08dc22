package policyfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

// linesOf writes a file in lines.
func linesOf(t require.TestingT, f *policyfile.File) string {
	var text bytes.Buffer
	require.NoError(t, policyfile.WriteLines(&text, 7, f.AllRoles(), f.AllGrants()))
	return text.String()
}

func readLines(text string) (*policyfile.File, error) {
	return policyfile.ReadLines("p.ndjson", strings.NewReader(text))
}

// lines puts an end under lines that are right in number.
func lines(roles, grants int, text ...string) string {
	return strings.Join(text, "\n") + fmt.Sprintf("\n{\"end\":{\"roles\":%d,\"grants\":%d}}\n", roles, grants)
}

func requireLineFaults(t *testing.T, text string, want ...fault) {
	t.Helper()
	file, err := readLines(text)
	require.Error(t, err, text)
	require.Nil(t, file)
	var got, wanted []string
	for i, e := range fileErrors(t, err) {
		got = append(got, fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Field))
		require.Equal(t, "p.ndjson", e.File)
		if i < len(want) {
			require.ErrorIs(t, e, want[i].cause, "%v", e)
		}
	}
	for _, w := range want {
		wanted = append(wanted, w.at)
	}
	require.Equal(t, wanted, got, "%v", err)
}

func TestLinesAreAsDocumented(t *testing.T) {
	f := policytest.ParseYAML(t, policytest.SeedYAML)
	require.Equal(t, `{"role":{"name":"order-reader","permissions":[{"actions":["orders:read","orders:list"],"resources":["orders/**"]}]}}
{"role":{"name":"order-writer","inherits":["order-reader"],"permissions":[{"actions":["orders:write"],"resources":["orders/**"],"when":"resource.properties.amount < 1000"},{"effect":"deny","actions":["orders:*"],"resources":["orders/frozen/**"]}]}}
{"grant":{"principal":"spiffe://interlock.test/alice","role":"order-writer","within":["orders/eu/**"],"expires":"2027-01-01T00:00:00Z","reason":"on call in the winter"}}
{"grant":{"principals":"spiffe://interlock.test/ns/*/sa/*","role":"order-reader"}}
{"end":{"roles":2,"grants":2,"revision":7}}
`, linesOf(t, f))
	require.Equal(t, "{\"end\":{\"roles\":0,\"grants\":0,\"revision\":7}}\n", linesOf(t, &policyfile.File{}))
	again, err := policyfile.Parse("p.ndjson", []byte(linesOf(t, f)))
	require.NoError(t, err)
	requireSame(t, f, again)
}

func TestLinesThatAreWrittenAreReadAsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := policytest.GenFile(t)
		for i := range f.Grants {
			if rapid.Bool().Draw(t, "other") {
				f.Grants[i].Reason = rapid.String().Draw(t, "reason")
			}
		}
		text := linesOf(t, f)
		again, err := policyfile.ReadLines("p.ndjson", iotest.OneByteReader(strings.NewReader(text)))
		require.NoError(t, err, "%s", text)
		requireSame(t, f, again)
		require.Equal(t, text, linesOf(t, again), "grants keep their order")
	})
}

const (
	lineA = `{"role":{"name":"a","permissions":[{"actions":["x"],"resources":["**"]}]}}`
	lineB = `{"role":{"name":"b","inherits":["a"]}}`
)

func TestShapesOfLines(t *testing.T) {
	want := lines(2, 1, lineA, lineB, `{"grant":{"principal":"user:é","role":"b","within":["x/**"],"expires":"2030-01-01T00:00:00Z","reason":"é\"\n"}}`)
	file, err := readLines(want)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"another order of roles":  lines(2, 1, lineB, lineA, strings.Split(want, "\n")[2]),
		"carriage returns":        strings.ReplaceAll(want, "\n", "\r\n"),
		"no newline at the end":   strings.TrimSuffix(want, "\n"),
		"blanks":                  strings.ReplaceAll(strings.ReplaceAll(want, ":", " : "), "user : é", "user:é"),
		"escapes":                 lines(2, 1, lineA, lineB, `{"gr\u0061nt":{"princip\u0061l":"user:\u00e9","role":"\u0062","within":["x\/**"],"expires":"2030-01-01T01:00:00+01:00","reason":"\u00e9\u0022\u000a"}}`),
		"another order of fields": lines(2, 1, lineA, lineB, `{"grant":{"reason":"é\"\n","role":"b","expires":"2030-01-01T00:00:00Z","within":["x/**"],"principal":"user:é"}}`),
		"an end with a revision":  strings.Replace(want, `"roles":2`, `"revision":18446744073709551615,"roles":2`, 1),
	} {
		if name == "blanks" { // colons of texts are none of JSON
			text = strings.NewReplacer("2030-01-01T00 : 00 : 00Z", "2030-01-01T00:00:00Z").Replace(text)
		}
		again, err := readLines(text)
		require.NoError(t, err, name)
		requireSame(t, file, again)
	}
}

func TestErrorsOfLinesHaveTheirPlace(t *testing.T) {
	requireLineFaults(t, strings.Join([]string{
		`{"role":{"name":"a","permissions":[{"actions":["x","*y"],"resources":["**"],"when":"1"}]}}`,
		`{"role":{"name":"b","inherits":["nobody","a"]}}`,
		`{"role":{"name":"b"}}`,
		`{"role":{"name":"é"}}`,
		`{"role":{"inherits":[],"more":1}}`,
		`{"role":"c"}`,
		`{"role":{"name":"d","inherits":["e"]}}`,
		`{"role":{"name":"e","inherits":["d"],"inherits":[]}}`,
		`{"grant":{"principal":"user:x","role":"a"}}`,
		`{"grant":{"principal":"alice","role":"a"}}`,
		`{"grant":{"principal":"user:é","role":"zz"}}`,
		`{"grant":{"principal":"user:y","principals":"user:*","role":"a"}}`,
		`{"grant":{"principal":"user:y","role":null}}`,
		`{"grant":{"principal":"user:y"}}`,
		`{"grant":{"principal":"user:y","role":"a","within":["*é", ""]}}`,
		`{"grant":{"principal":"user:y","role":"a","within":null,"expires":"2027","reason":""}}`,
		`{"grant":{"principal":"user:y","role":"a","within":["p","q","p"]}}`,
		`{"grant":{"principal":"user:y","role":"a","within":["p","q"]}}`,
		`{"grant":{"principal":"user:y","role":"a","within":["q","p"],"reason":"twice"}}`,
		`{"grant":{"principal":"user:x","role":"a"}}`,
		`{"grant":{"principal":"user:z","role":"a","Role":"a"}}`,
		`{"grant":{"principal":"user:z","role":"a","role":"a"}}`,
		`{"grant":[]}`,
		`{"role":{"name":"late"}}`,
		`{"grants":[]}`,
		`{}`,
		`[]`,
		`{"end":{"roles":"1","grants":1e1}} `,
		`{}`,
	}, "\n"),
		fault{"1:52: role.permissions[0].actions[1]", policy.ErrMalformed},
		fault{"1:84: role.permissions[0].when", policy.ErrCondition},
		fault{"2:33: role.inherits[0]", policy.ErrUnknownRole},
		fault{"3:17: role", policy.ErrInvalid},
		fault{"4:17: role.name", policy.ErrMalformed},
		fault{"5:9: role", policy.ErrInvalid},
		fault{"6:9: role", policy.ErrInvalid},
		fault{"8:33: role.inherits[0]", policy.ErrCycle},
		fault{"8:38: role.inherits", policy.ErrInvalid},
		fault{"10:23: grant.principal", policy.ErrMalformed},
		fault{"11:39: grant.role", policy.ErrUnknownRole},
		fault{"12:45: grant.principals", policy.ErrInvalid},
		fault{"13:39: grant.role", policy.ErrInvalid},
		fault{"14:10: grant.role", policy.ErrMalformed},
		fault{"15:53: grant.within[0]", policy.ErrMalformed},
		fault{"15:59: grant.within[1]", policy.ErrInvalid},
		fault{"16:52: grant.within", policy.ErrInvalid},
		fault{"16:67: grant.expires", policy.ErrInvalid},
		fault{"16:83: grant.reason", policy.ErrInvalid},
		fault{"17:61: grant.within[2]", policy.ErrInvalid},
		fault{"19:10: grant", policy.ErrInvalid},
		fault{"20:10: grant", policy.ErrInvalid},
		fault{"21:43: grant.Role", policy.ErrInvalid},
		fault{"22:43: grant.role", policy.ErrInvalid},
		fault{"23:10: grant", policy.ErrInvalid},
		fault{"24:9: role", policy.ErrInvalid},
		fault{"25:2: grants", policy.ErrInvalid},
		fault{"26:1: ", policy.ErrInvalid},
		fault{"27:1: ", policy.ErrInvalid},
		fault{"28:17: end.roles", policy.ErrInvalid},
		fault{"28:30: end.grants", policy.ErrInvalid},
		fault{"29:1: ", policyfile.ErrSyntax},
	)
	requireLineFaults(t, lines(2, 0, `{"role":{"name":"a","inherits":["b"]}}`, `{"role":{"name":"b","inherits":["a"]}}`),
		fault{"2:33: role.inherits[0]", policy.ErrCycle})
	requireLineFaults(t, lines(1, 1, lineA, `{"role":{"name":"z"},"grant":{"principal":"user:x","role":"a"}}`),
		fault{"2:1: ", policy.ErrInvalid}, fault{"3:17: end.roles", policy.ErrInvalid})
}

func TestLinesThatAreCutOffAreRefused(t *testing.T) {
	whole := lines(2, 2, lineA, lineB, `{"grant":{"principal":"user:x","role":"a"}}`, `{"grant":{"principal":"user:y","role":"b"}}`)
	_, err := readLines(whole)
	require.NoError(t, err)
	for i := range len(whole) - 1 {
		for _, text := range []string{whole[:i], whole[:i] + "\n"} {
			_, err := readLines(text)
			require.ErrorIs(t, err, policyfile.ErrSyntax, text)
			require.Len(t, fileErrors(t, err), 1, "what is not known yet is not held against it")
			var tally policyfile.LineTally
			_, _ = tally.Write([]byte(text))
			require.ErrorIs(t, tally.Check("p.ndjson"), policyfile.ErrSyntax, text)
		}
	}
	for _, c := range []struct{ text, want string }{
		{"", `p.ndjson:1:1: syntax error: the last line, {"end":…}, is missing: the file is cut off`},
		{lineA + "\n", `p.ndjson:2:1: syntax error: the last line, {"end":…}, is missing: the file is cut off`},
		{lineA[:9], `p.ndjson:1:1: syntax error: the line does not end: the file is cut off in it`},
		{lines(1, 2, lineA, `{"grant":{"principal":"user:x","role":"a"}}`),
			`p.ndjson:3:28: end.grants: invalid: there have to be 2, and there are 1: the file is not whole`},
		{lines(0, 0, lineA), `p.ndjson:2:17: end.roles: invalid: there have to be 0, and there are 1: the file is not whole`},
		{lineA + "\n{\"end\":{\"roles\":1}}", `p.ndjson:2:8: end: invalid: has to tell how many roles and grants there are`},
		{lineA + "\n{\"end\":7}", `p.ndjson:2:8: end: invalid: must be an object, not 7`},
	} {
		_, err := readLines(c.text)
		require.EqualError(t, err, c.want)
		var tally policyfile.LineTally
		_, _ = io.Copy(&tally, iotest.OneByteReader(strings.NewReader(c.text)))
		require.Error(t, tally.Check("p.ndjson"), c.text)
	}
}

func TestLinesThatAreNotWellFormed(t *testing.T) {
	for _, c := range []struct{ text, at string }{
		{"\n", "1:1"},
		{lineA + "\n \t\n", "2:1"},
		{"\ufeff" + lineA, "1:1"},
		{lineA + lineA + "\n", "1:75"},
		{lineA[:20] + "\n" + lineA[20:] + "\n", "1:21"},
		{"[" + lineA + ",\n" + lineB + "]\n", "1:77"},
		{"{\"role\":{\"name\":\"a\xff\"}}\n", "1:19"},
		{"role:\n", "1:1"},
		{lines(1, 0, lineA) + "\n", "3:1"},
		{lines(1, 0, lineA) + lineB + "\n", "3:1"},
		{lines(1, 0, lineA) + lines(0, 0)[1:], "3:1"},
	} {
		_, err := readLines(c.text)
		require.ErrorIs(t, err, policyfile.ErrSyntax, c.text)
		e := fileErrors(t, err)[0]
		require.Equal(t, c.at, fmt.Sprintf("%d:%d", e.Line, e.Column), "%s\n%v", c.text, err)
		require.Empty(t, e.Field)
	}
}

func TestErrorsOfTheReaderAreItsOwn(t *testing.T) {
	broken := errors.New("the line is dead")
	for _, more := range []string{"", lineB + "\n", lineB, strings.Repeat(" ", 1<<20)} {
		_, err := policyfile.ReadLines("p.ndjson", io.MultiReader(strings.NewReader(lineA+"\n"+more), iotest.ErrReader(broken)))
		require.ErrorIs(t, err, broken)
		require.NotErrorIs(t, err, policyfile.ErrSyntax)
	}
	_, err := policyfile.ReadLines("p.ndjson", iotest.ErrReader(broken))
	require.EqualError(t, err, "p.ndjson: after line 0: the line is dead")
}

func TestErrorsOfTheWriterEndTheWriting(t *testing.T) {
	f := policytest.ParseYAML(t, policytest.SeedYAML)
	for room := range int64(len(linesOf(t, f))) {
		broken := errors.New("the disk is full")
		w := &shortWriter{room: room, err: broken}
		require.ErrorIs(t, policyfile.WriteLines(w, 7, f.AllRoles(), f.AllGrants()), broken)
	}
	// A large policy is not gathered first.
	w := &shortWriter{room: 100 << 10, err: errors.New("enough")}
	endless := func(yield func(policy.Grant) bool) {
		for yield(f.Grants[0]) {
		}
	}
	require.ErrorIs(t, policyfile.WriteLines(w, 7, f.AllRoles(), endless), w.err)
}

// shortWriter takes so many bytes.
type shortWriter struct {
	room int64
	err  error
}

func (w *shortWriter) Write(p []byte) (int, error) {
	if w.room -= int64(len(p)); w.room < 0 {
		return 0, w.err
	}
	return len(p), nil
}

// With INTERLOCK_SOAK=1 it has lines of [policyfile.MaxLine] bytes. TestALineBeyondItsLimit has
// shorter ones.
func TestLinesBeyondALimit(t *testing.T) {
	type beyond struct {
		r    io.Reader
		line int
	}
	limits := map[string]beyond{
		"depth": {strings.NewReader(strings.Repeat("[", 1000)), 1},
	}
	soak := os.Getenv("INTERLOCK_SOAK") != ""
	if soak {
		limits["a line that goes on"] = beyond{io.MultiReader(strings.NewReader(lineA+"\n{\"role\":\""), endless("x")), 2}
		var roles strings.Builder
		for i := range policyfile.MaxLineRoles + 1 {
			fmt.Fprintf(&roles, "{\"role\":{\"name\":\"r%d\"}}\n", i)
		}
		limits["roles"] = beyond{strings.NewReader(roles.String()), policyfile.MaxLineRoles + 1}
		limits["a line"] = beyond{strings.NewReader(lineA + "\n" + strings.Repeat(" ", policyfile.MaxLine+1) + "\n"), 2}
		limits["brackets"] = beyond{endless("["), 1}
	}
	for name, c := range limits {
		_, err := policyfile.ReadLines("p.ndjson", c.r)
		require.ErrorIs(t, err, policyfile.ErrTooLarge, name)
		require.Equal(t, c.line, fileErrors(t, err)[0].Line, name)
	}
	if !soak {
		return
	}
	f := &policyfile.File{Roles: map[string]*policy.Role{"a": policytest.MustRole(t, "a", policy.RoleSpec{Permissions: []policy.PermissionSpec{
		policytest.Allow("x", strings.Repeat(strings.Repeat("y", policy.MaxResource)+" ", policyfile.MaxLine/policy.MaxResource)),
	}})}}
	err := policyfile.WriteLines(io.Discard, 1, f.AllRoles(), f.AllGrants())
	require.ErrorIs(t, err, policyfile.ErrTooLarge, "what could not be read again is not written")
	var e *policy.FieldError
	require.ErrorAs(t, err, &e)
	require.Equal(t, "roles.a", e.Field)
}

// endless is a text that is repeated for ever.
type endless string

func (s endless) Read(p []byte) (int, error) {
	p = p[:len(p)/len(s)*len(s)]
	n := copy(p, s)
	for n < len(p) {
		n += copy(p[n:], p[:n])
	}
	return n, nil
}

func TestManyErrorsOfLinesAreCutShort(t *testing.T) {
	source := io.MultiReader(strings.NewReader(lineA+"\n"), endless("{\"grant\":7}\n"))
	_, err := policyfile.ReadLines("p.ndjson", source)
	require.Len(t, fileErrors(t, err), 1000)
	require.Equal(t, 1001, fileErrors(t, err)[999].Line)
}

// Texts that grants have in common take their memory once.
func TestLinesShareTheirTexts(t *testing.T) {
	var text []string
	for i := range 3 {
		text = append(text, fmt.Sprintf(`{"grant":{"principal":"user:%d","role":"a","within":["p","q"],"reason":"why"}}`, i))
	}
	f, err := readLines(lines(1, 4, append([]string{lineA}, append(text, `{"grant":{"principal":"user:2","role":"a"}}`)...)...))
	require.NoError(t, err)
	first, last := f.Grants[0], f.Grants[2]
	require.Same(t, unsafe.StringData(f.Roles["a"].Name()), unsafe.StringData(first.Role))
	require.Same(t, unsafe.StringData(first.Role), unsafe.StringData(last.Role))
	require.Same(t, unsafe.StringData(first.Reason), unsafe.StringData(last.Reason))
	require.Same(t, &first.Within[0], &last.Within[0])
	require.Equal(t, cap(first.Within), len(first.Within), "no caller can append to a shared slice")
	require.Same(t, unsafe.StringData(last.Principal.String()), unsafe.StringData(f.Grants[3].Principal.String()))
}

func TestLineTallyCountsLines(t *testing.T) {
	f := policytest.ParseYAML(t, policytest.SeedYAML)
	text := linesOf(t, f)
	for _, whole := range []string{text, strings.TrimSuffix(text, "\n")} {
		var tally policyfile.LineTally
		_, err := io.Copy(&tally, iotest.HalfReader(strings.NewReader(whole)))
		require.NoError(t, err)
		require.NoError(t, tally.Check("p.ndjson"))
	}
	var tally policyfile.LineTally
	_, _ = io.WriteString(&tally, text)
	require.EqualValues(t, 5, tally.Lines())
	var short policyfile.LineTally
	_, _ = io.WriteString(&short, text[strings.Index(text, "\n")+1:])
	require.EqualError(t, short.Check("p.ndjson"), "p.ndjson:4:1: end: invalid: there have to be 4 lines before it, and there are 3: the file is not whole")
}
