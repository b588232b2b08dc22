package policyfile

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/interlock-authz/interlock/actors/policy"
)

// File is the content of a policy file: all roles and all grants. [Parse] and [ReadLines]
// return a consistent File.
type File struct {
	// Roles are the roles by their names.
	Roles map[string]*policy.Role
	// Grants are all grants, exact ones and those to patterns, in the order of the file.
	Grants []policy.Grant
}

// Parse reads a policy file. A name that ends in ".json" means JSON of at most [MaxSize]
// bytes. A name that ends in [LinesSuffix] means a policy in lines, which may be larger: see
// [ReadLines]. All other names mean YAML of at most [MaxYAML] bytes.
//
// JSON and YAML are read strictly. Unknown and duplicate fields, nulls and values of another
// type are errors. In YAML so are anchors, aliases, merge keys, tags, directives, tabs in the
// indentation, keys that are not strings, and a second document. Roles are an object by name,
// or a list with the name inside.
//
// All errors are [*Error]. A file that is not well formed has one error. Of all others Parse
// returns the first thousand together, by [errors.Join], in the order of lines.
func Parse(name string, data []byte) (*File, error) {
	if strings.HasSuffix(name, LinesSuffix) {
		return ReadLines(name, bytes.NewReader(data))
	}
	read, limit := readYAML, MaxYAML
	if strings.HasSuffix(name, ".json") {
		read, limit = readJSON, MaxSize
	}
	if len(data) > limit {
		return nil, &Error{File: name, Err: fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)}
	}
	if !utf8.Valid(data) {
		return nil, &Error{File: name, Err: fmt.Errorf("%w: the file is not valid UTF-8", ErrSyntax)}
	}
	root, err := read(data)
	if fault, ok := errors.AsType[*syntaxFault](err); ok {
		return nil, &Error{File: name, Line: int(fault.line), Column: int(fault.column), Err: fault.err}
	}
	return loadFile(name, &root)
}

// Table compiles the roles and the grants to patterns.
func (f *File) Table(revision uint64) (*policy.Table, error) {
	var patterns []policy.Grant
	for i := range f.Grants {
		if !f.Grants[i].Exact() {
			patterns = append(patterns, f.Grants[i])
		}
	}
	return policy.NewTable(revision, slices.Collect(f.AllRoles()), policy.NewPatternGrants(patterns))
}

// AllRoles yields the roles, by name.
func (f *File) AllRoles() iter.Seq[*policy.Role] {
	return func(yield func(*policy.Role) bool) {
		for _, name := range slices.Sorted(maps.Keys(f.Roles)) {
			if !yield(f.Roles[name]) {
				return
			}
		}
	}
}

// AllGrants yields the grants in the order of the file.
func (f *File) AllGrants() iter.Seq[policy.Grant] { return slices.Values(f.Grants) }
