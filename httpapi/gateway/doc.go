// Package gateway is a reverse proxy whose proxied calls are operations of the engine.
//
// A [Gateway] is an [net/http.Handler]. It finds the route of a request, authorizes the request
// for the caller that mutual TLS identifies, and sends it to the route's upstream. A request
// without a route has no access. Each call runs under a lease. An update that forbids the call
// cancels the request to the upstream and cuts the client's response, and its receipt waits until
// the upstream connection or stream of the call is closed. All other calls continue, also those of
// the same principal on the same connection.
//
// # What is promised
//
// G1: a call starts only if its principal is allowed, with its certificate, when it starts.
//
// G2: when an update returns, no call that the update forbids is in progress. The gateway sends
// nothing to the upstream for such a call any more, and nothing to its client.
//
// Canceling ends the call, and not the work that the upstream has begun for it. With HTTP/1.1 the
// gateway closes the connection, and waits up to [Upstream.Linger] for the upstream to close its
// side, which most servers do when their handler has returned. With HTTP/2 it resets the stream,
// which the upstream does not confirm.
//
// # The argument
//
// A call has three parts that can outlive each other: the handler, the sending of the request's
// body, and the connection to the client after an upgrade. The lease must outlive all of them.
//
//   - The handler. [httpapi.Guard] releases the lease after the handler has returned.
//   - The response. [net/http/httputil.ReverseProxy] closes the body of the response before it
//     returns, also when it panics. With HTTP/1.1, closing a body that was not read to its end
//     waits until the connection is closed. With HTTP/2 it does not wait if the context of the
//     request is done. So the request of an HTTP/2 upstream has a context of its own, and the end
//     of the lease closes the body, and cancels the context only after that.
//   - The request's body. A transport can still send it when the response has ended, because an
//     upstream may answer early. The transport closes the body when it has stopped sending. The
//     handler waits for that, and fails the transport's reading if the client is slow.
//   - The upgrade. ReverseProxy copies in both directions before it returns, and closes both
//     connections. Guard counts the client's connection as a part of the operation.
//
// A request is sent a second time only under a lease that has its authority. Go's Transport repeats
// requests by itself, and does not ask. So the gateway does not use its pool: it uses an
// [net/http.ClientConn] for each connection, which never repeats a request.
//
// The path that is authorized is the path that is sent. Guard rejects a path that two readers could
// read differently. The gateway rejects one that net/url would spell differently when it is sent,
// such as one with a brace, and sends all others as they came.
package gateway
