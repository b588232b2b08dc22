// Package workload is a [certs.Source] that gets certificates and CAs from a SPIFFE Workload API, such as a SPIRE
// agent's. It stores nothing on disk.
//
// The process that answers at the socket determines the server's certificate and trust anchors, so the address is as
// sensitive as a key. The CAs of a trust domain may certify SPIFFE IDs of that domain and nothing else.
//
// A bundle that an answer leaves out is no longer used, as the standard requires. [Source.Load] returns an error for an
// answer that cannot be used. While the API does not answer, the last answer stays in use until it expires.
package workload
