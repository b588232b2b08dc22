// Package certs turns X.509 certificates into identities, and makes the certificates that development needs.
//
// # Identity
//
// An [Identifier] reads a client's identity from one chain that the TLS stack has verified, and from nothing else:
// no header, no distinguished name. A SPIFFE ID comes first, by the rules of an X509-SVID; without one the configured
// rules ([RuleDNS], [RuleEmail], …) are asked in order. Each kind has its own prefix, so that kinds never collide:
//
//	spiffe://example.org/alice    dns:alice.example.org    email:alice@example.org    uri:urn:example:alice
//	sha256:9f86d0…                spki:60303a…             cn:alice
//
// Whatever is not exactly one well-formed name is refused with an [IdentityError]; nothing is repaired, lower-cased
// or guessed. [CredentialsOf] gives the facts about the same certificate that an authorization must look at again
// later: its fingerprint, its serial number and issuer, its dates. Neither function looks at a clock: whether a
// certificate has ended is asked where the permission is.
//
// # The development CA
//
// [InitAuthority] makes a small CA in a folder, [LoadAuthority] opens it again; [Authority.IssueServer] and
// [Authority.IssueClient] certify names for at most [MaxLeafLifetime]. It keeps no register of what it issued and is
// not meant for production.
//
// # Files
//
// A key is written with mode 0600 and refused when it is read through a link or has a wider mode. Files appear whole
// or not at all, and nothing is overwritten unless that is asked for. A damaged file is refused with its name and
// what is wrong, never used in part. This relies on the permissions, hard links and folder syncs of a POSIX system.
//
// # TLS
//
// [ServerConfig] and [ClientConfig] give configurations of TLS 1.3 for the two ends.
package certs
