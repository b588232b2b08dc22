// Package httpapi is interlock's network face: a server that knows its callers by mutual
// TLS, and what it serves.
//
//   - [NewServer] makes an [net/http.Server] with every limit set, [Connections] finds the
//     [Caller] of a request in its verified certificate chain and in nothing else.
//   - [DecisionAPI] answers questions, as the OpenID AuthZEN Authorization API 1.0 asks
//     them. An answer can be stale by the time it is read: what has to hold while an
//     operation runs belongs to the middleware and to leases.
//   - [Problem] and [WriteProblem] are how everything here says no: RFC 9457 problem
//     documents, made of errors by one table.
//
// What came from outside is a value in the log, never part of a message, and no body and
// no key is logged.
package httpapi
