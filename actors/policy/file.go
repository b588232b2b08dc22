package policy

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// File is what a policy file says: all roles and all grants. [ParseFile] and [ReadLines]
// make one whose parts are consistent with each other.
type File struct {
	// Roles are the roles by their names.
	Roles map[string]*Role
	// Grants are all grants, exact ones and those to patterns, as they stand in the file.
	Grants []Grant
}

// FileError says where in a policy file an error lies. Err wraps [ErrSyntax],
// [ErrTooLarge], [ErrInvalid], [ErrMalformed], [ErrCondition], [ErrUnknownRole] or
// [ErrCycle].
type FileError struct {
	// File is the name that was given to [ParseFile].
	File string
	// Line and Column are from 1, the column in characters; both are 0 when the error is
	// one of the file as a whole.
	Line, Column int
	// Field is a path such as "roles.order-writer.permissions[1].actions[0]", empty when
	// the file is not well formed there.
	Field string
	Err   error
}

// Error returns a text such as "policy.yaml:12:9: roles.x.inherits[0]: unknown role".
func (e *FileError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	b.WriteString(e.Err.Error())
	return b.String()
}

// Unwrap returns the error itself.
func (e *FileError) Unwrap() error { return e.Err }

// ParseFile reads a policy file of at most [MaxFile] bytes: JSON if the name ends in
// ".json", else YAML. A name that ends in [LinesSuffix] means a policy in lines, which may
// be larger: see [ReadLines]. JSON and YAML are read strictly: unknown and duplicate
// fields, nulls and values of another type are errors; so are, in YAML, anchors, aliases,
// tags, a second document, tab characters and hundreds of empty lines. Roles are an object
// by name, or a list with the name inside. Within braces a string with a colon has to
// stand in quotes.
//
// All errors are [*FileError]. What is not well formed ends the reading; of all others
// the first thousand are returned together, by [errors.Join], in the order of lines.
func ParseFile(name string, data []byte) (*File, error) {
	if strings.HasSuffix(name, LinesSuffix) {
		return ReadLines(name, bytes.NewReader(data))
	}
	if len(data) > MaxFile {
		return nil, &FileError{File: name, Err: fmt.Errorf("%w: more than %d bytes", ErrTooLarge, MaxFile)}
	}
	if !utf8.Valid(data) {
		return nil, &FileError{File: name, Err: fmt.Errorf("%w: the file is not valid UTF-8", ErrSyntax)}
	}
	read := readYAML
	if strings.HasSuffix(name, ".json") {
		read = readJSON
	}
	root, err := read(data)
	var fault *syntaxFault
	if errors.As(err, &fault) {
		return nil, &FileError{File: name, Line: int(fault.line), Column: int(fault.column), Err: fault.err}
	}
	return loadFile(name, &root)
}

// Table compiles the roles and the grants to patterns.
func (f *File) Table(revision uint64) (*Table, error) {
	var patterns []Grant
	for i := range f.Grants {
		if !f.Grants[i].Exact() {
			patterns = append(patterns, f.Grants[i])
		}
	}
	return NewTable(revision, slices.Collect(f.AllRoles()), patterns)
}

// AllRoles yields the roles, by name.
func (f *File) AllRoles() iter.Seq[*Role] {
	return func(yield func(*Role) bool) {
		for _, name := range slices.Sorted(maps.Keys(f.Roles)) {
			if !yield(f.Roles[name]) {
				return
			}
		}
	}
}

// AllGrants yields the grants as they stand in the file.
func (f *File) AllGrants() iter.Seq[Grant] { return slices.Values(f.Grants) }
