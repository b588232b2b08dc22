// Package policy is the model of roles and grants. It matches patterns, evaluates
// conditions and makes decisions. Package policyfile reads and writes policies as files.
//
// The package starts no goroutines, takes no locks, reads no clock and does no I/O. A
// [Table] is the immutable, compiled form of all roles and pattern grants at one
// revision; an [Effective] is what one principal holds; [Table.Decide] combines the
// two with a [Query] and returns a [Decision]. All three are safe for concurrent
// use.
//
// # Patterns
//
// Names are split into segments: actions at ':', resources at '/', principals at the
// first ':' and then at '/'. An empty segment is a segment. Names are compared byte by byte,
// without decoding. The grammar of the pattern of an action is
//
//	pattern = segment *( ":" segment ) [ ":" "**" ] / "**"
//	segment = literal / "*" / prefix "*"
//
// where literal and prefix contain no '*' and prefix is not empty. Resources have '/' instead.
// The segment '*' matches exactly one segment, whatever it is. A prefix and '*' match one
// segment that begins with the prefix, and the prefix itself. '**' matches zero or more
// segments. A segment of a resource is odd if it is empty, "." or "..". In the resources of an
// allow and in the limits of a grant, no wildcard matches a segment of dots, and '*' matches an
// empty one only if '**' follows: "orders/*" does not match "orders/", and "orders/**" and
// "orders/*/**" do. In those of a deny, wildcards match odd segments too.
// Patterns of principals have no prefixes. An action that begins with "interlock:"
// is matched only by patterns that begin with it, so "**" and "i*:**" never give rights of
// the control plane.
//
// # Decisions
//
// Deny is the zero value. A permission with effect deny that matches wins over every
// allow; without a matching allow the answer is deny. A condition that fails to evaluate
// denies, both for an allow and for a deny. The cost of a decision depends on the depth of
// the resource and on the number of patterns along its path, not on the number of
// permissions in the table. A segment costs a step for each 15 bytes. Prefixes at one place
// of the path cost one look-up for each length that they have. A permission that names many
// actions and many resources, more than eight pairs for each of its patterns, costs a search
// of its own resources, if the principal holds its role.
package policy
