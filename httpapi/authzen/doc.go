// Package authzen is the decision API: the evaluation endpoints of the OpenID AuthZEN
// Authorization API 1.0. An answer can be stale by the time it is read. An operation that must
// stay authorized while it runs needs [httpapi.Guard] or a lease.
//
// A subject of type "principal" is the principal in its ID. Any other subject is type:id. Types
// that name an identity of a certificate are rejected. The resource is type/id.
//
// A caller may ask about itself: the turn that decides also examines the caller's credential. To
// ask about another principal it needs interlock:decide on principals/ID, with the ID
// percent-encoded as one segment.
//
// A denial is an answer with status 200. A malformed item of a batch is denied and does not
// affect the others. If the engine cannot decide, the answer is a problem document. With
// ?explain=true each answer has a context with its reason, for callers with interlock:read on
// policy.
package authzen
