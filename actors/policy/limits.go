package policy

import "fmt"

// Limits on what one role, one grant and one principal have. A role at the limit compiles in
// less than a second.
const (
	// MaxInherits is the most roles that a role inherits directly.
	MaxInherits = 1_000
	// MaxInheritance is the most roles in a chain of which each inherits the next.
	MaxInheritance = 100
	// MaxRolePatterns is the most patterns of actions and resources in a role.
	MaxRolePatterns = 1 << 18
	// MaxRoleConditions is the most bytes that the conditions of a role have in all.
	MaxRoleConditions = 64 << 10
	// MaxWithin is the most limits of a grant.
	MaxWithin = 1_000
	// MaxGrants is the most exact grants of a principal.
	MaxGrants = 4_096
)

// count rejects more than a limit.
func (f *faults) count(field string, n, most int, of string) bool {
	if n <= most {
		return true
	}
	f.addf(field, "%d %s; the limit is %d", n, of, most)
	return false
}

// sizes counts what the permissions of a role have.
type sizes struct{ patterns, conditions int }

func (s *sizes) add(actions, resources int, condition string) {
	s.patterns += actions + resources
	s.conditions += len(condition)
}

// within rejects permissions that are too large, before anything of them is parsed.
func (s *sizes) within(f *faults) bool {
	patterns := f.count("permissions", s.patterns, MaxRolePatterns, "patterns of actions and resources")
	return f.count("permissions", s.conditions, MaxRoleConditions, "bytes of conditions") && patterns
}

// errTooDeep is an error about a chain of inheritance, in the role at its end.
func errTooDeep(role string) error {
	return fmt.Errorf("%w: role %q has a chain of more than %d roles that inherit each other", ErrInvalid, role, MaxInheritance)
}
