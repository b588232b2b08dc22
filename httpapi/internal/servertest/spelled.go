package servertest

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/url"
	"strings"

	"github.com/interlock-authz/interlock/httpapi/forwarded"
)

// Spelled is how a kind of proxy sends a certificate on, nil for none. An empty value is no header.
var Spelled = map[forwarded.Format]func(*tls.Certificate) (name, value string){
	forwarded.RFC9440: func(c *tls.Certificate) (string, string) { return "Client-Cert", byteSequence(c, "") },
	forwarded.HAProxy: func(c *tls.Certificate) (string, string) { return "Client-Cert", byteSequence(c, "::") },
	forwarded.Caddy: func(c *tls.Certificate) (string, string) {
		return "Client-Cert", byteSequence(c, ":{http.request.tls.client.certificate_der_base64}:")
	},
	forwarded.Nginx: func(c *tls.Certificate) (string, string) {
		return "X-SSL-Client-Escaped-Cert", EscapedPEM(c)
	},
	forwarded.Envoy: func(c *tls.Certificate) (string, string) {
		if c == nil {
			return "X-Forwarded-Client-Cert", ""
		}
		return "X-Forwarded-Client-Cert", fmt.Sprintf(`By=spiffe://interlock.test/ingress;Hash=%s;Cert="%s"`, FingerprintOf(*c), EscapedPEM(c))
	},
	forwarded.Traefik: func(c *tls.Certificate) (string, string) {
		return "X-Forwarded-Tls-Client-Cert", strings.Trim(byteSequence(c, ""), ":")
	},
}

func byteSequence(c *tls.Certificate, none string) string {
	if c == nil {
		return none
	}
	return ":" + base64.StdEncoding.EncodeToString(c.Certificate[0]) + ":"
}

// EscapedPEM is the percent-encoded PEM of the leaf, empty for nil.
func EscapedPEM(c *tls.Certificate) string {
	if c == nil {
		return ""
	}
	return url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})))
}
