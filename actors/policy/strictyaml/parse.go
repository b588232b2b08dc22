// Package strictyaml reads the part of YAML that configuration and policy files need, and
// rejects what has surprises: anchors, aliases, merge keys, tags, directives, duplicate keys,
// keys that are not strings, and second documents. Every error has its place.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Limits of [Parse]: the depth of lists and mappings, and the marks that begin values.
const (
	MaxDepth = 100
	maxMarks = 1 << 20
)

// Sentinels of this package, for [errors.Is].
var (
	// ErrSyntax is wrapped when a text is not well-formed YAML, or has more than one document.
	ErrSyntax = errors.New("syntax error")
	// ErrTooLarge is wrapped when a text nests too deep or has too many values.
	ErrTooLarge = errors.New("too large")
	// ErrEmpty is wrapped when a text has no value.
	ErrEmpty = errors.New("the file is empty")
)

// Error is an error with its place. Line and Column are from 1, the column in characters.
type Error struct {
	Line, Column int
	// Field is a path such as "keep.count", empty if there is none.
	Field string
	Err   error
}

// Error returns a text such as "3:7: keep.count: must be a whole number".
func (e *Error) Error() string {
	text := fmt.Sprintf("%d:%d: ", e.Line, e.Column)
	if e.Field != "" {
		text += e.Field + ": "
	}
	return text + e.Err.Error()
}

// Unwrap returns the error itself.
func (e *Error) Unwrap() error { return e.Err }

// Parse reads one document and returns its value. The parser ends at a depth of 10,000, and
// Parse rejects what is deeper than [MaxDepth] before anything else recurses. Parse does not look for
// what [Refused] and [RefusedKey] reject. The error is an [*Error] that wraps [ErrSyntax],
// [ErrTooLarge] or [ErrEmpty].
func Parse(text []byte) (*yaml.Node, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if err := scan(text); err != nil {
		return nil, err
	}
	var document, second yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(text))
	err := in.Decode(&document)
	switch {
	case err == io.EOF:
		return nil, &Error{Line: 1, Column: 1, Err: ErrEmpty}
	case err != nil:
		return nil, located(text, err)
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Value == "" && root.Style == 0 && root.Anchor == "" {
		return nil, &Error{Line: 1, Column: 1, Err: ErrEmpty}
	}
	switch err := in.Decode(&second); {
	case err == nil:
		return nil, syntaxError(second.Line, second.Column, "a file has one document")
	case err != io.EOF:
		return nil, located(text, err)
	}
	return root, checkDepth(root)
}

// checkDepth walks the tree level by level.
func checkDepth(root *yaml.Node) error {
	level := []*yaml.Node{root}
	for range MaxDepth {
		var below []*yaml.Node
		for _, n := range level {
			below = append(below, n.Content...)
		}
		level = below
	}
	for _, n := range level {
		if len(n.Content) > 0 {
			return tooDeep(n.Line, n.Column)
		}
	}
	return nil
}

func tooDeep(line, column int) error {
	return &Error{Line: line, Column: column, Err: fmt.Errorf("%w: nested deeper than %d", ErrTooLarge, MaxDepth)}
}

func syntaxError(line, column int, why string) *Error {
	return &Error{Line: line, Column: column, Err: fmt.Errorf("%w: %s", ErrSyntax, why)}
}

// scan bounds what a text can cost the parser, and rejects directives and tabs in
// indentation, which it would take.
func scan(text []byte) error {
	marks, line, prelude := 0, 0, true
	for row := range bytes.Lines(text) {
		line++
		content := bytes.TrimLeft(row, " ")
		if len(content) > 0 && content[0] == '\t' && len(bytes.TrimSpace(content)) > 0 {
			return syntaxError(line, len(row)-len(content)+1, "a tab in the indentation: use spaces")
		}
		if prelude && len(bytes.TrimSpace(content)) > 0 && content[0] != '#' {
			prelude = false
			if row[0] == '%' {
				return syntaxError(line, 1, "directives are refused")
			}
		}
		if marks += countMarks(content); marks > maxMarks {
			return &Error{Line: 1, Column: 1, Err: fmt.Errorf("%w: more than %d values", ErrTooLarge, maxMarks)}
		}
	}
	return nil
}

// countMarks counts what begins a value in a line.
func countMarks(content []byte) (marks int) {
	for i, c := range content {
		switch c {
		case '[', '{', ',', '"', '\'':
			marks++
		case '-', ':', '?':
			if i+1 == len(content) || content[i+1] == ' ' || content[i+1] == '\n' {
				marks++
			}
		}
	}
	return marks
}

var (
	yamlLine      = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	indicator     = regexp.MustCompile(`(^|[\s\[{,])[*&]`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// located makes an error of the parser one of ours. The parser knows the line only, so the
// column is that of the first character of the line.
func located(text []byte, err error) error {
	match := yamlLine.FindStringSubmatch(err.Error())
	if match == nil {
		return syntaxError(1, 1, err.Error())
	}
	line, _ := strconv.Atoi(match[1])
	problem := strings.TrimPrefix(err.Error(), match[0])
	lines := bytes.Split(text, []byte("\n"))
	line = min(max(line, 1), len(lines))
	column := len(lines[line-1]) - len(bytes.TrimLeft(lines[line-1], " ")) + 1
	switch anchor := unknownAnchor.FindStringSubmatch(problem); {
	case anchor != nil:
		line, column = findAlias(lines, anchor[1])
		problem = refusedAnchor
	case strings.HasPrefix(problem, "exceeded max depth"):
		return tooDeep(line, column)
	case strings.HasPrefix(problem, "did not find expected alphabetic or numeric character"):
		if at := indicator.FindIndex(lines[line-1]); at != nil {
			column = utf8.RuneCount(lines[line-1][:at[1]])
		}
		problem = refusedAnchor
	}
	return syntaxError(line, column, problem)
}

// findAlias returns the place of the first alias of that name.
func findAlias(lines [][]byte, name string) (line, column int) {
	alias := regexp.MustCompile(`(^|[\s\[{,])\*` + regexp.QuoteMeta(name))
	for i, text := range lines {
		if at := alias.FindIndex(text); at != nil {
			return i + 1, utf8.RuneCount(text[:at[0]+bytes.IndexByte(text[at[0]:], '*')]) + 1
		}
	}
	return 1, 1
}

const refusedAnchor = "anchors, aliases and merge keys are refused; put a text that begins with * or & in quotes"

// Refused returns why a value may not stand in a file, "" if it may. It does not look inside.
func Refused(n *yaml.Node) (why string) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return refusedAnchor
	case n.Style&yaml.TaggedStyle != 0:
		return "tags are refused"
	}
	return ""
}

// RefusedKey returns why a key may not stand in a mapping, "" if it may.
func RefusedKey(n *yaml.Node) (why string) {
	switch why := Refused(n); {
	case why != "":
		return why
	case n.Kind != yaml.ScalarNode:
		return "the key is not a string"
	case n.Tag == "!!merge":
		return refusedAnchor
	case n.Tag != "!!str":
		return fmt.Sprintf("the key %q is not a string: put it in quotes", n.Value)
	}
	return ""
}
