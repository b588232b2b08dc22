package forwarded_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/forwarded"
)

// telling are identity headers that servers and their guides set.
var telling = []string{
	"Client-Cert", "Client-Cert-Chain", "Client-Certificate",
	"X-Forwarded-Client-Cert", "X-Forwarded-Client-Cert-Chain", "X-Forwarded-Client-Chain",
	"X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info",
	"X-Forwarded-Ssl-Client-Cert", "X-Forwarded-Ssl-Client-Cert-Infos",
	"X-SSL-Client-Cert", "X-SSL-Client-Escaped-Cert", "X-SSL-Client-S-DN", "X-SSL-Client-I-DN", "X-SSL-Client-Verify",
	"X-SSL-Client-Serial", "X-SSL-Client-Fingerprint", "X-SSL-Client-DN", "X-SSL-Client-CN", "X-SSL-Client-SHA1",
	"X-SSL-Client-Used", "X-SSL-Cert", "X-SSL-Issuer",
	"X-TLS-Client-Subject", "X-TLS-Client-Fingerprint", "X-TLS-Client-San-URI", "X-TLS-Client-San-Dns", "X-TLS-Cert",
	"SSL-Client-Cert", "SSL-Client-Verify", "SSL-Client-Subject-DN", "SSL-Client-Issuer-DN", "TLS-Client-Cert",
	"X-Client-Cert", "X-Client-Cert-SHA256", "X-Client-Certificate", "X-Client-Verify", "X-Client-Verified",
	"X-Client-DN", "X-Client-CN", "X-Client-S-DN", "X-Client-I-DN", "X-Client-Subject", "X-Client-Issuer",
	"X-Client-SAN", "X-Client-Serial", "X-Client-Fingerprint", "X-Client-SPIFFE-ID", "X-MTLS-Subject", "X-SPIFFE-ID",
	"X-Amzn-Mtls-Clientcert", "X-Amzn-Mtls-Clientcert-Leaf", "X-Amzn-Mtls-Clientcert-Subject", "X-ARR-ClientCert",
	"Cf-Client-Cert-Der-Base64", "Cf-Client-Cert-Sha256", "WL-Proxy-Client-Cert",
}

// innocent are headers with similar names that clients and proxies send.
var innocent = []string{
	"Client-Ip", "Client", "X-Client-Ip", "X-Client-Version", "X-Client-Data", "X-Forwarded-For", "X-Forwarded-Proto",
	"X-Forwarded-Ssl", "X-Forwarded-Tls-Version", "X-Forwarded-Client-Ip", "X-Ssl", "Ssl-Protocol", "X-Arr-Ssl", "X-Amzn-Trace-Id",
	"X-Trace-Id", "Ssl-Cipher", "Tls-Cipher", "X-Client-Features", "X-Method-Override", "X-Span-Id", "X-Arr-Clientip",
	"Cf-Client-Ip", "Wl-Proxy-Client-Ip", "Cf-Connecting-Ip", "Authorization", "Cookie", "X-Request-Id", "Traceparent", "X", "",
}

func TestRemove(t *testing.T) {
	for _, name := range telling {
		for _, spelled := range []string{
			name, http.CanonicalHeaderKey(name), strings.ToLower(name), strings.ToUpper(name),
			strings.ReplaceAll(name, "-", "_"), strings.Replace(name, "-", "_", 1),
		} {
			for from, remove := range removers(t) {
				h := http.Header{spelled: {"a", "b"}}
				remove(h)
				require.Empty(t, h, from)
			}
		}
	}
}

func TestRemoveLeavesTheRest(t *testing.T) {
	h := http.Header{}
	for _, name := range slices.Concat(innocent, telling) {
		h[name] = []string{"a"}
	}
	for from, remove := range removers(t) {
		got := h.Clone()
		remove(got)
		require.ElementsMatch(t, innocent, slices.Collect(maps.Keys(got)), from)
	}
}

// A reader removes its own headers in addition to the headers of all readers.
func TestRemoveOfAReadersOwnHeader(t *testing.T) {
	r := newReader(t, forwarded.RFC9440, "x-Own")
	for _, name := range []string{"X-Own", "X-Own-Chain"} {
		for _, spelled := range []string{name, strings.ToUpper(name), strings.ReplaceAll(name, "-", "_")} {
			h := http.Header{spelled: {"a"}, "X-Own-Other": {"b"}}
			forwarded.Remove(h)
			require.Len(t, h, 2)
			r.Remove(h)
			require.Equal(t, http.Header{"X-Own-Other": {"b"}}, h)
		}
	}
}

// removers are all ways to remove headers. They must agree.
func removers(t *testing.T) map[string]func(http.Header) {
	all := map[string]func(http.Header){"Remove": forwarded.Remove}
	for _, f := range formats {
		all[string(f)] = newReader(t, f, "").Remove
	}
	return all
}
