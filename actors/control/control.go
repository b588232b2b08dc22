// Package control decides what an administrator may change. The rights of the control
// plane are ordinary permissions of the policy, on the actions and resources that this
// package names.
//
// Every check is a function of a [policy.View]. The package takes no lock, reads no clock and
// does not depend on a transport. The HTTP admin API, a gRPC admin API, a cluster node and a
// program that embeds the engine use the same checks.
//
// # Rules
//
// An author needs a right for each change: interlock:grant on roles/NAME to grant or
// revoke a role, interlock:change on roles/NAME to put or delete one, and
// interlock:change on certificates to revoke a certificate.
//
// A role reaches the control plane if it, or a role that it inherits, has a permission for
// an interlock: action. An author without full rights needs a permission that names such
// a role exactly. Removing a deny gives as much as adding an allow, so the same holds for
// an update that removes one.
//
// Revoking the certificate of a CA ends all callers that it certified, and no administrator can
// take it back. It needs full rights and [Author.ForceCA], and no author can revoke a CA that
// its own certificate depends on.
//
// A principal has full rights if an exact grant without limits gives it an unconditional
// allow of interlock:change and interlock:grant on all roles, and no deny of its roles
// could match an interlock: action on any role. At least one principal keeps full rights.
package control

import (
	"errors"
	"net/url"

	"github.com/interlock-authz/interlock/actors/policy"
)

// The actions of the control plane.
const (
	ActionDecide  = "interlock:decide"  // ask for decisions about another principal
	ActionLease   = "interlock:lease"   // hold a remote lease for another principal
	ActionRead    = "interlock:read"    // read the policy, the changes or the leases
	ActionGrant   = "interlock:grant"   // grant and revoke a role
	ActionChange  = "interlock:change"  // put and delete a role, revoke a certificate
	ActionOperate = "interlock:operate" // verify and back up the store
)

// The resources of the control plane, besides those of [RoleResource] and
// [PrincipalResource].
const (
	ResourcePolicy       = "policy"
	ResourceChanges      = "changes"
	ResourceLeases       = "leases"
	ResourceCertificates = "certificates"
	ResourceStore        = "store"
)

// RoleResource returns the resource of a role: roles/NAME, with NAME percent-encoded as
// one path segment.
func RoleResource(name string) string { return "roles/" + url.PathEscape(name) }

// PrincipalResource returns the resource of a principal: principals/ID, with ID
// percent-encoded as one path segment.
func PrincipalResource(p policy.Principal) string { return "principals/" + url.PathEscape(p.String()) }

// Errors of an update that its author may not make although it has the rights for each
// change.
var (
	// ErrNeedsFullRights is wrapped when an author without full rights changes or grants a
	// role that reaches the control plane, unless its permissions name the role and cover
	// what the role gives there.
	ErrNeedsFullRights = errors.New("full rights needed")
	// ErrExactOnly is wrapped when an administrative role is granted to a pattern.
	ErrExactOnly = errors.New("administrative roles cannot be granted to patterns")
	// ErrLastAdministrator is returned when no principal would keep full rights.
	ErrLastAdministrator = errors.New("at least one principal must keep full rights")
	// ErrOwnIssuer is wrapped when an author revokes a CA that its own certificate depends on.
	ErrOwnIssuer = errors.New("the author's own certificate depends on this one")
	// ErrRevokesCA is wrapped when an update revokes the certificate of a CA, and so all that it
	// issued. [Author.ForceCA] permits it.
	ErrRevokesCA = errors.New("the certificate is that of a CA")
	// ErrLosesControl is wrapped when the author would lose its own full rights, or when no
	// principal that has connected would keep them. [Author.Force] permits it.
	ErrLosesControl = errors.New("the update takes away full rights")
)
