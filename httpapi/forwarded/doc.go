// Package forwarded reads the client's certificate from the header of a proxy that terminates
// the client's TLS connection.
//
// The package only parses. The caller must first authenticate the peer as a proxy, by mutual
// TLS. Afterwards the caller must verify the chain against the CAs of clients and check
// validity, revocation and identity, as for a chain from a handshake. The package reads only
// the certificate. It ignores distinguished names, fingerprints and flags such as "verified":
// proxies format names differently for the same certificate, and none of this can be verified.
//
// # Formats
//
// A [Format] is what one kind of proxy writes, with these lines in its configuration. The
// lines must replace the header that the client sent: security depends on this.
//
//	RFC9440  Client-Cert and Client-Cert-Chain, from a proxy that follows RFC 9440
//	Nginx    proxy_set_header X-SSL-Client-Escaped-Cert $ssl_client_escaped_cert;
//	HAProxy  http-request set-header Client-Cert :%[ssl_c_der,base64]:
//	Caddy    header_up Client-Cert ":{http.request.tls.client.certificate_der_base64}:"
//	Envoy    forward_client_cert_details: SANITIZE_SET
//	         set_current_client_cert_details: {cert: true, chain: true}
//	Traefik  passTLSClientCert: {pem: true}
//
// Each format has its own value for a client without a certificate:
//
//	RFC9440, Envoy, Traefik  no header
//	Nginx                    no header, or an empty one
//	HAProxy                  "::"
//	Caddy                    ":{http.request.tls.client.certificate_der_base64}:"
//
// HAProxy and Caddy always set the header. A missing header shows that the proxy is not
// configured, and is an error.
//
// Traefik sends the base64 of each certificate that the client presented, separated by commas.
// Versions before 2.9.4 percent-encode it. The package reads both.
//
// # Errors
//
// Everything that is not exactly the format is an error: a repeated header, base64 with wrong
// padding or line breaks, PEM that differs from OpenSSL's output, extra text, several
// certificates where the proxy sends one, several elements in Envoy's header, and a Hash that
// does not match the certificate. The package repairs nothing. All lines of a header together
// may have 64 KiB and hold 8 certificates, including the client's.
package forwarded
