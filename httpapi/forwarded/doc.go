// Package forwarded reads the client's certificate from the header in which a proxy sends
// it on that has ended the client's TLS.
//
// It believes nothing and only parses. Whoever calls it has made sure that the peer is a
// proxy, by mutual TLS, and afterwards verifies the chain against the authorities of
// clients and looks at dates, revocation and identity, as it would with a chain from a
// handshake. Only the certificate is read, never a distinguished name, a fingerprint or a
// "verified" that a proxy sends beside it: servers spell names differently for the same
// certificate, and none of that can be verified.
//
// # Formats
//
// Each [Format] is what one kind of proxy writes, with these lines in its configuration.
// They overwrite the client's own copy of the header, which is what everything rests on.
//
//	RFC9440  Client-Cert and Client-Cert-Chain, from a proxy that follows RFC 9440
//	Nginx    proxy_set_header X-SSL-Client-Escaped-Cert $ssl_client_escaped_cert;
//	HAProxy  http-request set-header Client-Cert :%[ssl_c_der,base64]:
//	Caddy    header_up Client-Cert ":{http.request.tls.client.certificate_der_base64}:"
//	Envoy    forward_client_cert_details: SANITIZE_SET
//	         set_current_client_cert_details: {cert: true, chain: true}
//	Traefik  passTLSClientCert: {pem: true}
//
// Each has its own way to say that the client presented no certificate:
//
//	RFC9440, Envoy, Traefik  no header
//	Nginx                    no header, or an empty one
//	HAProxy                  "::"
//	Caddy                    ":{http.request.tls.client.certificate_der_base64}:"
//
// HAProxy and Caddy always set the header, so that one which is missing shows a proxy
// that is not configured, and is refused.
//
// Traefik sends the base64 of each certificate that the client presented, separated by
// commas: as it is since 2.9.4 and in all of 3, percent-encoded before. Both are read.
//
// # What is refused
//
// Everything that is not exactly the format: a header that is there twice, base64 that is
// padded wrongly or broken into lines, PEM in another form than OpenSSL writes it, text
// beside a certificate, several certificates where the proxy sends one, several elements
// in Envoy's header, a Hash that is not the certificate's. Nothing is repaired. A value
// may be 64 KiB long, all lines of a header together, and hold 8 certificates, the
// client's among them.
package forwarded
