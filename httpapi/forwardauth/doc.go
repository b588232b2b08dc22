// Package forwardauth answers proxies that ask before they send a request on: auth_request of nginx,
// forward_auth of Caddy, ForwardAuth of Traefik, and the script for HAProxy in docs/proxies.md. Envoy
// asks by ext_authz instead: see package extauthz.
//
// The proxy sends a request about the client's request. Its headers have the original method, host
// and URI:
//
//	nginx, haproxy, rfc9440  X-Original-Method   X-Original-Host   X-Original-URI
//	caddy, traefik           X-Forwarded-Method  X-Forwarded-Host  X-Forwarded-Uri
//
// A [Handler] reads the headers of one [forwarded.Format] and no others. The proxy must set all three
// and replace those of the client. A missing or repeated one is answered with a 400.
//
// The client's certificate is in the header of package forwarded. Serve the handler on a listener
// for proxies (httpapi.Proxied), so that the caller is the client of the proxy.
//
// # Answers
//
// The handler finds the route of the original request and decides, as [httpapi.Guard.Decide] does:
//
//	200  allowed; Interlock-Principal and Interlock-Revision are for the upstream
//	401  no identity, or an expired or revoked certificate
//	403  denied, or no route
//	400  malformed headers, or a path that is not canonical
//	503  the server is overloaded or shutting down; 504 and 500 are possible as well
//
// auth_request of nginx turns every status except 2xx, 401 and 403 into a 500. So format nginx gets a
// 403 in place of all others. The problem document in its body has the true status.
//
// # What is promised
//
// The answer is a decision only (no G2). When an update returns its receipt, the handler allows no
// request that the update forbids. A request that it allowed before can still run, and may be about
// to start. Use a gateway (package gateway) or a guard for requests that must end.
package forwardauth
