// Package workload is the source of certificates and CAs that a SPIFFE Workload API is, such as a SPIRE agent's:
// a [certs.Source] that holds nothing on disk.
//
// Whoever answers at the socket decides by what the server is known and whom it trusts, so that the address is as much
// worth as a key. The CAs of a trust domain may certify SPIFFE IDs of that domain, and nothing else.
//
// What the Workload API does not give any more is not used any more: a bundle that it leaves out of an answer is
// unloaded, as the standard asks. An answer that cannot be used is an error of [Source.Load], which names what is wrong.
// While nobody answers, what came last stays, until it ends.
package workload
