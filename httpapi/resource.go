package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// template makes a resource from a route's variables.
type template []templatePart

// templatePart is literal text, or a variable.
type templatePart struct {
	text     string
	variable bool
	many     bool // may hold several segments
}

func parseTemplate(s string) (template, error) {
	var t template
	for s != "" {
		open := strings.IndexByte(s, '{')
		if open < 0 {
			open = len(s)
		}
		if open > 0 {
			t = append(t, templatePart{text: s[:open]})
		}
		if s = s[open:]; s == "" {
			break
		}
		end := strings.IndexByte(s, '}')
		if end < 0 {
			return nil, fmt.Errorf("%w: the variable %q is not closed", policy.ErrMalformed, s)
		}
		name, many := strings.CutSuffix(s[1:end], "...")
		if name == "" {
			return nil, fmt.Errorf("%w: a variable without a name", policy.ErrMalformed)
		}
		t = append(t, templatePart{text: name, variable: true, many: many})
		s = s[end+1:]
	}
	if len(t) == 0 {
		return nil, fmt.Errorf("%w: no resource", policy.ErrMalformed)
	}
	return t, nil
}

// fill puts the route's variables into the rule's template. Their values are text, never pattern
// or template syntax.
func (t template) fill(rule *Rule, r *http.Request) (string, error) {
	if len(t) == 1 && !t[0].variable {
		return t[0].text, nil
	}
	var b strings.Builder
	vars := mux.Vars(r)
	for _, part := range t {
		if !part.variable {
			b.WriteString(part.text)
			continue
		}
		value, ok := variable(r, vars, part.text)
		if !ok {
			p := web.NewProblem(http.StatusInternalServerError, "rule", "Rule does not fit its route",
				"The rule of this route has a variable that the route does not have. The log names it.")
			p.Cause = missingVariable(rule, routeOf(r), part.text)
			return "", p
		}
		value, err := decoded(value, r.URL)
		switch {
		case err != nil:
			return "", err
		case value == "":
			return "", pathProblem("A part of the path is empty.")
		case !part.many && strings.Contains(value, "/"):
			return "", pathProblem("A part of the path holds a slash where one segment is expected.")
		case strings.HasPrefix(value, "/"), strings.HasSuffix(value, "/"):
			return "", pathProblem("A part of the path begins or ends with an empty segment.")
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

// decoded returns the text of a variable. A router that compares paths as they were sent keeps
// it encoded, others decode it. Which it was is certain only if the decoded path has no percent
// sign.
func decoded(value string, u *url.URL) (string, error) {
	if !strings.Contains(value, "%") {
		return value, nil
	}
	if strings.Contains(u.Path, "%") {
		return "", pathProblem("A part of the path holds a percent sign, which some readers decode again.")
	}
	text, err := url.PathUnescape(value)
	if err != nil {
		return "", pathProblem("A part of the path is not percent-encoded as it should be.")
	}
	return text, nil
}

// checkPath rejects a path that another reader could read differently, instead of cleaning it,
// so the authorized path is always the path that the handler sees.
func checkPath(u *url.URL) error {
	if u.RawPath == "" && isPlain(u.Path) {
		return nil
	}
	return checkCanonical(u)
}

func checkCanonical(u *url.URL) error {
	// RawPath is the path as sent. EscapedPath encodes it again if it holds a brace, for
	// example, and would hide the rest.
	raw := u.RawPath + " " + u.EscapedPath()
	lower := strings.ToLower(raw)
	switch path := u.Path; {
	case !strings.HasPrefix(path, "/"):
		return pathProblem("The path does not begin with a slash.")
	case strings.Contains(lower, "%2f"), strings.Contains(lower, "%5c"), strings.Contains(path, `\`):
		return pathProblem("The path holds an encoded slash or a backslash.")
	case overEncoded(raw):
		return pathProblem("The path encodes a character that needs no encoding.")
	case strings.Contains(path, "//"):
		return pathProblem("The path holds an empty segment.")
	case strings.Contains(path, ";"):
		return pathProblem("The path holds a semicolon, which some readers take for a parameter.")
	case hasDotSegment(path):
		return pathProblem("The path holds a segment of dots.")
	case !utf8.ValidString(path), strings.ContainsFunc(path, policy.IsControl):
		return pathProblem("The path holds control characters or invalid UTF-8.")
	}
	return nil
}

// isPlain reports whether all segments of a path consist of letters, digits, - and _. Such a
// path has one reading.
func isPlain(path string) bool {
	before := byte(0)
	for i := range len(path) {
		c := path[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			if i == 0 {
				return false
			}
		case c != '/' || before == '/':
			return false
		}
		before = c
	}
	return path != ""
}

// overEncoded reports whether a letter, a digit or one of - . _ ~ is percent-encoded.
func overEncoded(raw string) bool {
	for i := 0; i+2 < len(raw); i++ {
		if raw[i] != '%' {
			continue
		}
		c, err := strconv.ParseUint(raw[i+1:i+3], 16, 8)
		if err == nil && (policy.IsKind(string(rune(c))) || c == '~') {
			return true
		}
	}
	return false
}

func hasDotSegment(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

func pathProblem(detail string) *client.Problem {
	return web.NewProblem(http.StatusBadRequest, "path", "Path not canonical", detail+" The server does not clean paths.")
}
