package policy

import (
	"errors"
	"strings"
)

// The errors of this package, for [errors.Is].
var (
	// ErrInvalid is wrapped by errors about well-formed values that are not allowed in
	// their place.
	ErrInvalid = errors.New("invalid")
	// ErrUnknownRole is wrapped when a grant or a role names a role that does not exist.
	ErrUnknownRole = errors.New("unknown role")
	// ErrRoleInUse is wrapped when a role that is granted or inherited would be deleted.
	ErrRoleInUse = errors.New("role in use")
	// ErrCycle is wrapped by [*CycleError].
	ErrCycle = errors.New("roles inherit each other in a cycle")
	// ErrCondition is wrapped by errors about a condition that does not compile.
	ErrCondition = errors.New("bad condition")
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

// At returns err as an error in field. If err is a [*FieldError], its path goes below field.
func At(field string, err error) *FieldError {
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
