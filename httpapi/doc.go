// Package httpapi enforces the decisions of an engine in HTTP servers.
//
//   - [Guard] runs a handler only as an authorized operation, and ends it on revocation.
//   - [Identifier] finds the [Caller] of a request. [Connections] does so by mutual TLS, from the
//     verified certificate chain and nothing else.
//   - [NewServer] makes an [net/http.Server] with every limit set.
//   - [WriteProblem] answers errors with RFC 9457 problem documents.
//
// Sub-packages: admin is the admin API, authzen the decision API, client the Go client of both,
// grpcguard is the guard of gRPC servers, and guardtest supports tests of guarded handlers.
//
// The package logs external text as a value, never as part of a message. It logs no bodies and
// no keys.
package httpapi
