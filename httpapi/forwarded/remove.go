package forwarded

import "net/http"

// identifying lists prefixes of header names by which proxies forward the identity of a TLS
// client, in lower case and with hyphens. They are prefixes because most headers come in
// families, with one header for each field of a certificate. They do not match headers
// without an identity: X-Client-IP, X-Forwarded-Ssl, X-Forwarded-For.
var identifying = []string{
	"client-cert",              // RFC 9440, with -Chain
	"x-forwarded-client-cert",  // Envoy
	"x-forwarded-client-chain", // Cloud Foundry's HAProxy
	"x-forwarded-tls-client-",  // Traefik 2 and 3, with -Info
	"x-forwarded-ssl-client-",  // Traefik 1
	"x-ssl-",                   // from guides for nginx, HAProxy and Apache: X-SSL-Client-S-DN, X-SSL-Cert, X-SSL-Issuer
	"x-tls-",                   // from newer guides, mostly for Caddy
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
	"interlock-",           // the gateway of interlock
}

// Remove deletes every header by which a proxy forwards the identity of a TLS client, in
// any case and with underscores in place of hyphens, which some servers treat alike. Use it
// on listeners that trust no proxy, and on requests that are sent on. It leaves other means
// of identification, such as Authorization, and trailers, which are in a map of their own.
func Remove(h http.Header) { remove(h, identifies) }

// Remove also deletes the headers of this reader. Call it after the chain is read, and
// before a handler or an upstream server sees the request.
func (r *Reader) Remove(h http.Header) {
	remove(h, func(name string) bool {
		return identifies(name) || same(name, r.header) || same(name, r.chain)
	})
}

func remove(h http.Header, unwanted func(string) bool) {
	for name := range h {
		if unwanted(name) {
			delete(h, name) // Del would miss other spellings
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

// same compares header names. It ignores case and treats a hyphen and an underscore alike.
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
