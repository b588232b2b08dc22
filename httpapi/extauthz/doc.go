// Package extauthz answers Envoy's ext_authz: the gRPC service envoy.service.auth.v3.Authorization.
//
// A [Server] finds the route of the request that Envoy asks about, identifies its caller, and decides
// as [httpapi.Guard.Decide] does. Serve it on a listener for proxies (httpapi.Proxied with format
// envoy): a request of the service is answered only if mutual TLS identifies its peer as one of
// the proxies.
//
// # The caller
//
// The certificate of Envoy's client comes from one of these, and is verified as in a handshake:
//
//   - attributes.source.certificate, if the filter has include_peer_certificate: true
//   - the header X-Forwarded-Client-Cert among the headers of the request: see package forwarded
//
// If both are there, they must have the same certificate. The header can also bring intermediate
// certificates, which the attribute cannot.
//
// # Answers
//
// Allowed is OkHttpResponse. It sets Interlock-Principal and Interlock-Revision for the upstream, and
// removes all headers by which a proxy forwards the identity of a client. The dynamic metadata has
// principal and revision.
//
// All others are DeniedHttpResponse: 401 without an identity or with an ended credential, 403 if the
// policy denies or no route matches, 400 for a path that is not canonical, 503 if the server is
// overloaded or shutting down. The body is a problem document. A question that cannot be decided is
// a denial and not an error of gRPC, because failure_mode_allow would let such a request through. Only
// a question of more than 256 KiB, which a filter without with_request_body does not send, is one.
//
// # What is promised
//
// The answer is a decision only (no G2). When an update returns its receipt, the service allows no
// request that the update forbids. A request that it allowed before can still run, and may be about
// to start. Use a gateway (package gateway) or a guard for requests that must end.
package extauthz
