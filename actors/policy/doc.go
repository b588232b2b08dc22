// Package policy is the model of roles and grants. It matches patterns, evaluates
// conditions and makes decisions. Package policyfile reads and writes policies as files.
//
// Nothing in it starts a goroutine, takes a lock, reads a clock or touches a disk. A
// [Table] is the immutable, compiled form of all roles and pattern grants at one
// revision; an [Effective] is what one principal holds; [Table.Decide] puts the two
// together with a [Query] and answers with a [Decision]. All three are safe for concurrent
// use.
//
// # Patterns
//
// Names are split into segments: actions at ':', resources at '/', principals at the
// first ':' and then at '/'. In a pattern the segment '*' stands for exactly one whole
// segment, whatever it is, and '**' for zero or more; '**' may stand last only. There is
// no partial wildcard: "ord*" is rejected. An action that begins with "interlock:" is matched
// only by patterns that begin with it, so "**" never gives rights of the control plane.
//
// # Decisions
//
// Deny is the zero value. A permission with effect deny that matches wins over every
// allow; without a matching allow the answer is deny. A condition that fails to evaluate
// denies, both for an allow and for a deny. The cost of a decision depends on the depth of
// the resource and on the number of patterns along its path, not on the number of
// permissions in the table.
package policy
