package policy

import (
	"errors"
	"fmt"
	"strings"
)

// Sentinels of this package, for [errors.Is].
var (
	// ErrInvalid is wrapped by errors about values that are well formed and still make no
	// sense where they stand.
	ErrInvalid = errors.New("invalid")
	// ErrUnknownRole is wrapped when a grant or a role names a role that does not exist.
	ErrUnknownRole = errors.New("unknown role")
	// ErrRoleInUse is wrapped when a role that is granted or inherited would be deleted.
	ErrRoleInUse = errors.New("role in use")
	// ErrCycle is wrapped by [*CycleError].
	ErrCycle = errors.New("roles inherit each other in a cycle")
	// ErrCondition is wrapped by errors about a condition that does not compile.
	ErrCondition = errors.New("bad condition")
	// ErrSyntax is wrapped when a policy file is not well-formed YAML or JSON, or uses
	// what a policy file may not.
	ErrSyntax = errors.New("syntax error")
	// ErrTooLarge is wrapped when a policy file is beyond a limit.
	ErrTooLarge = errors.New("too large")
)

// FieldError says in which field of a role, a grant or a change an error lies. Field is
// a path such as "permissions[1].actions[0]".
type FieldError struct {
	Field string
	Err   error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns the error itself.
func (e *FieldError) Unwrap() error { return e.Err }

// At returns err with field put before the path that it names already.
func At(field string, err error) error {
	var inner *FieldError
	if errors.As(err, &inner) {
		sep := "."
		if strings.HasPrefix(inner.Field, "[") {
			sep = ""
		}
		return &FieldError{Field: field + sep + inner.Field, Err: inner.Err}
	}
	return &FieldError{Field: field, Err: err}
}

// CycleError names the roles of a cycle of inheritance, in order; the last inherits the
// first.
type CycleError struct{ Roles []string }

func (e *CycleError) Error() string {
	return fmt.Sprintf("%v: %s", ErrCycle, strings.Join(e.Roles, " → ")+" → "+e.Roles[0])
}

// Unwrap returns [ErrCycle].
func (e *CycleError) Unwrap() error { return ErrCycle }
