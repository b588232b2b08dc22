// Package certs turns X.509 certificates into identities, and keeps the credentials of a server.
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
// # Rotation
//
// A [Trust] loads a server's certificate, the trust anchors of its clients and their CRLs from a [Source] and from files. It
// reloads them while the server runs, all of them or nothing. [ServerConfig] and [ClientConfig] make configurations that
// do not change.
//
// # Files
//
// A key file is rejected if it is a link or if others than its owner can read it. A damaged file is rejected with its name and
// what is wrong, and never used in part. The package devca makes certificates for development and tests.
package certs
