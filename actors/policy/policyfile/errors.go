package policyfile

import (
	"fmt"
	"strings"

	"github.com/interlock-authz/interlock/actors/policy/strictyaml"
)

// Sentinels of this package, for [errors.Is].
var (
	// ErrSyntax is wrapped when a policy file is not well-formed YAML or JSON, or uses
	// a feature of YAML that policy files may not use.
	ErrSyntax = strictyaml.ErrSyntax
	// ErrTooLarge is wrapped when a policy file is beyond a limit.
	ErrTooLarge = strictyaml.ErrTooLarge
)

// Error says where in a policy file an error lies. Err wraps [ErrSyntax], [ErrTooLarge],
// [policy.ErrInvalid], [policy.ErrMalformed], [policy.ErrCondition], [policy.ErrUnknownRole]
// or [policy.ErrCycle].
type Error struct {
	// File is the name that was given to [Parse].
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
func (e *Error) Error() string {
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
func (e *Error) Unwrap() error { return e.Err }
