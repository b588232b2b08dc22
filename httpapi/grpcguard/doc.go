// Package grpcguard enforces the decisions of an engine in gRPC servers.
//
// A [Guard] has two interceptors. [Guard.Unary] and [Guard.Stream] run a handler only as an
// operation that the engine has authorized. Each method needs a [Rule]. A method without a rule is
// denied.
//
//	guard, err := grpcguard.New(grpcguard.Options{Engine: engine, Connections: connections, Rules: rules})
//	server := grpc.NewServer(grpc.ChainUnaryInterceptor(guard.Unary), grpc.ChainStreamInterceptor(guard.Stream))
//
// The server can serve its own port with credentials.NewTLS, or share a port with HTTP through
// [Handler] and [httpapi.NewServer].
//
// # Identity
//
// The caller is the principal of the verified TLS client certificate, by the rules of
// [httpapi.Connections], and nothing else. Metadata cannot change it. The certificate is examined
// once for each connection. [httpapi.CallerOf] returns the caller from the context of a handler,
// and [actors.RevisionOf] the revision that allowed the call.
//
// # Promises
//
//   - G1: the policy allows the operation in the same turn that records it. In mode Admit the
//     turn is immediately before the handler starts, or at the first RecvMsg of a server-streaming
//     method whose rule has ResourceOf. In mode Execute the handler runs in the turn.
//   - G2: a revocation cancels the context of the handler with [actors.ErrRevoked], and ends SendMsg
//     and RecvMsg, also those that are blocked. The update that revoked waits until the handler has
//     returned and no SendMsg or RecvMsg of it is running.
//   - The call of a revoked operation ends with PERMISSION_DENIED and an ErrorInfo with reason
//     REVOKED, whatever the handler returns. Other calls on the connection are not disturbed.
//   - The error of a handler that was not revoked passes unchanged.
//
// # No promises
//
//   - The response of a unary call is sent after its handler has returned, and messages that
//     SendMsg has accepted can be in buffers. They may reach the client after the revocation.
//   - A client that does not read gets the status of a revocation late: after the buffered
//     messages, or with [Handler] never, because its stream is reset.
//   - Interceptors outside the guard run before the decision and after the operation. Only a
//     recovering one belongs there. All others belong inside.
//   - Goroutines that a handler leaves behind, other than those in SendMsg and RecvMsg, are not
//     part of the operation.
//   - A native gRPC server does not close connections when their credential ends, and has none of
//     the limits of [httpapi.ConnectionLimits]. Each call by an ended credential is rejected, and
//     running operations are revoked.
package grpcguard
