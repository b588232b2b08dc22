package forwarded

import "net/http"

// identifying are the beginnings of the names by which proxies tell who the client of a
// TLS connection is, in lower case and with hyphens. Beginnings, since most of them are
// families with a member for each field of a certificate. They leave alone what is no
// identity: X-Client-IP, X-Forwarded-Ssl, X-Forwarded-For.
var identifying = []string{
	"client-cert",              // RFC 9440, with -Chain
	"x-forwarded-client-cert",  // Envoy
	"x-forwarded-client-chain", // Cloud Foundry's HAProxy
	"x-forwarded-tls-client-",  // Traefik 2 and 3, with -Info
	"x-forwarded-ssl-client-",  // Traefik 1
	"x-ssl-",                   // what guides for nginx, HAProxy and Apache set: X-SSL-Client-S-DN, X-SSL-Cert, X-SSL-Issuer
	"x-tls-",                   // the same in newer guides, for Caddy above all
	"ssl-client-",              // ingress-nginx; Apache's SSL_CLIENT_CERT
	"tls-client-",
	"x-client-cert",  // Google Cloud, F5, Pulp
	"x-client-verif", // verify, verified, verification
	"x-client-dn", "x-client-cn", "x-client-s-dn", "x-client-i-dn", "x-client-subject", "x-client-issuer",
	"x-client-san", "x-client-serial", "x-client-fingerprint", "x-client-spiffe",
	"x-mtls-", "x-spiffe-",
	"x-amzn-mtls-",         // AWS
	"x-arr-clientcert",     // Azure and IIS
	"cf-client-cert-",      // Cloudflare
	"wl-proxy-client-cert", // WebLogic
}

// Remove deletes from h every header by which a proxy of any kind tells who the client of
// a TLS connection is, in any case of letters, and with underscores in place of hyphens,
// which some servers take for the same. It is for listeners that believe no proxy, and for
// what is sent on. Other means of identification, such as Authorization, are left alone,
// and so are trailers, which a request has in a map of their own.
func Remove(h http.Header) { remove(h, identifies) }

// Remove does what the function [Remove] does, and deletes the reader's own headers too.
// Call it when the chain has been read, before a handler or a server behind sees the
// request.
func (r *Reader) Remove(h http.Header) {
	remove(h, func(name string) bool {
		return identifies(name) || same(name, r.header) || same(name, r.chain)
	})
}

func remove(h http.Header, unwanted func(string) bool) {
	for name := range h {
		if unwanted(name) {
			delete(h, name) // not Del, which would not find another spelling
		}
	}
}

func identifies(name string) bool {
	for _, start := range identifying {
		if len(name) >= len(start) && same(name[:len(start)], start) {
			return true
		}
	}
	return false
}

// same compares names of headers: letters of either case, and hyphen and underscore, are
// the same.
func same(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if fold(a[i]) != fold(b[i]) {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	switch {
	case c == '_':
		return '-'
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	}
	return c
}
