// Package policy is the pure heart of interlock: the model of roles and grants,
// how patterns match, how conditions are evaluated, and how a decision comes to be.
//
// Nothing in it starts a goroutine, takes a lock, reads a clock or touches a disk. A
// [Table] is the immutable, compiled form of all roles and pattern grants at one
// revision; an [Effective] is what one principal holds; [Table.Decide] puts the two
// together with a [Query] and answers with a [Decision]. All three can be shared
// between goroutines freely.
//
// # Patterns
//
// Names are split into segments: actions at ':', resources at '/', principals at the
// first ':' and then at '/'. In a pattern the segment '*' stands for exactly one whole
// segment, whatever it is, and '**' for zero or more; '**' may stand last only. There is
// no partial wildcard: "ord*" is refused, so that nobody believes it means something.
// Action patterns that do not begin with "interlock:" never match an action that does:
// the control plane's rights have to be named.
//
// # Decisions
//
// Deny is the zero value. A permission with effect deny that matches wins over every
// allow; without a matching allow the answer is deny. A condition that fails to evaluate
// denies, on whichever side it stands. The cost of a decision follows from the depth of
// the resource and the number of patterns along its path, not from the number of
// permissions in the table.
package policy
