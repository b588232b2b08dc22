package forwarded_test

import (
	"crypto/x509"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/forwarded"
)

func TestChainOfLeaf(t *testing.T) {
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			requireChain(t, newReader(t, f, ""), send(f, leaf()), leaf())
		})
	}
}

func TestChainWithIntermediates(t *testing.T) {
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			h := send(f, leaf(), middle(), upper())
			if f == forwarded.Nginx {
				requireRefused(t, f, h, escapedCert)
				return
			}
			requireChain(t, newReader(t, f, ""), h, leaf(), middle(), upper())
		})
	}
}

func TestChainWithoutCertificate(t *testing.T) {
	for f, spellings := range map[forwarded.Format][]http.Header{
		forwarded.RFC9440: {{}, nil},
		forwarded.HAProxy: {{clientCert: {haproxyNone}}},
		forwarded.Caddy:   {{clientCert: {caddyNone}}},
		forwarded.Nginx:   {{}, nil, {escapedCert: {""}}},
		forwarded.Envoy:   {{}, nil},
		forwarded.Traefik: {{}, nil},
	} {
		for _, h := range spellings {
			got, err := newReader(t, f, "").Chain(h)
			require.NoError(t, err, "%s %v", f, h)
			require.Nil(t, got)
		}
	}
}

// The value for "no certificate" of one format is an error in another.
func TestChainRejectsNoneOfAnotherFormat(t *testing.T) {
	for f, values := range map[forwarded.Format][]string{
		forwarded.RFC9440: {"", haproxyNone, caddyNone},
		forwarded.HAProxy: {"", ":", caddyNone},
		forwarded.Caddy:   {"", haproxyNone, "{http.request.tls.client.certificate_der_base64}", strings.ToUpper(caddyNone), caddyNone + " "},
		forwarded.Nginx:   {haproxyNone, caddyNone, " ", "-"},
		forwarded.Envoy:   {"", haproxyNone, caddyNone},
		forwarded.Traefik: {"", haproxyNone, caddyNone, ","},
	} {
		for _, value := range values {
			requireRefused(t, f, http.Header{headers[f]: {value}}, headers[f])
		}
	}
	for _, f := range []forwarded.Format{forwarded.HAProxy, forwarded.Caddy} {
		refused := requireRefused(t, f, http.Header{}, clientCert)
		require.Contains(t, refused.Detail, "Client-Cert", "what to configure")
		empty := requireRefused(t, f, http.Header{clientCert: {""}}, clientCert)
		require.NotEqual(t, empty.Detail, refused.Detail, "a missing header has another detail")
	}
}

func TestChainRefusesTwoLines(t *testing.T) {
	for _, f := range formats {
		h := send(f, leaf())
		h[headers[f]] = append(h[headers[f]], h[headers[f]]...)
		requireRefused(t, f, h, headers[f])
		h[headers[f]][0] = ""
		requireRefused(t, f, h, headers[f])
	}
}

// A value of 64 KiB is accepted. It is filled with text that the format skips, or with several
// certificates, one of which is large.
func TestChainLimitsLength(t *testing.T) {
	const limit = 64 << 10
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			h := send(f, leaf())
			h.Set(headers[f], h.Get(headers[f])+strings.Repeat("A", limit))
			refused := requireRefused(t, f, h, headers[f])
			require.Contains(t, refused.Detail, "65536")
		})
	}
	value := pairs(leaf()) + ";DNS="
	h := http.Header{xfcc: {value + strings.Repeat("a", limit-len(value))}}
	requireChain(t, newReader(t, forwarded.Envoy, ""), h, leaf())
	h[xfcc][0] += "a"
	requireRefused(t, forwarded.Envoy, h, xfcc)
	h = send(forwarded.RFC9440, leaf(), middle())
	h.Add(clientChain, strings.Repeat(" ", limit-len(sequence(middle())+sequence(upper())))+sequence(upper()))
	requireChain(t, newReader(t, forwarded.RFC9440, ""), h, leaf(), middle(), upper())
	h[clientChain][1] += " "
	requireRefused(t, forwarded.RFC9440, h, clientChain)
}

func TestChainLimitsCertificates(t *testing.T) {
	chain := []*x509.Certificate{leaf()}
	for range 7 {
		chain = append(chain, middle())
	}
	for _, f := range formats {
		if f == forwarded.Nginx {
			continue
		}
		requireChain(t, newReader(t, f, ""), send(f, chain...), chain...)
		header := headers[f]
		if header == clientCert {
			header = clientChain
		}
		requireRefused(t, f, send(f, append(chain, middle())...), header)
	}
}

// The encoding is valid, but the data is not a certificate, or has data after it.
func TestChainRejectsInvalidCertificates(t *testing.T) {
	cut, long := *leaf(), *leaf()
	cut.Raw, long.Raw = leaf().Raw[:100], append(leaf().Raw[:len(leaf().Raw):len(leaf().Raw)], 0)
	for _, f := range formats {
		for _, cert := range []*x509.Certificate{&cut, &long, {Raw: []byte{0}}} {
			requireRefused(t, f, send(f, cert), headers[f])
		}
	}
}

// Headers of other formats, and the same name in another spelling, have no effect.
func TestChainIgnoresOtherHeaders(t *testing.T) {
	for _, f := range formats {
		h := send(f, leaf())
		for _, from := range formats {
			if headers[from] != headers[f] {
				h[headers[from]] = send(from, other())[headers[from]]
			}
		}
		name := strings.ReplaceAll(headers[f], "-", "_")
		h[name] = send(f, other())[headers[f]]
		r := newReader(t, f, "")
		requireChain(t, r, h, leaf())
		r.Remove(h)
		require.Empty(t, h)
	}
}

func TestNewReaderWithAHeaderName(t *testing.T) {
	for _, f := range formats {
		h := send(f, leaf(), middle())
		if f == forwarded.Nginx {
			h = send(f, leaf())
		}
		given := http.Header{"X-Own": h[headers[f]]}
		if list, found := h[clientChain]; found {
			given["X-Own-Chain"] = list
		}
		r := newReader(t, f, "x-OWN")
		got, err := r.Chain(given)
		require.NoError(t, err)
		require.Equal(t, leaf().Raw, got[0].Raw)
		require.Equal(t, f == forwarded.Nginx, len(got) == 1)
		if f == forwarded.HAProxy || f == forwarded.Caddy {
			_, err = r.Chain(h)
			require.ErrorContains(t, err, "x-OWN ", "what to configure")
		} else {
			requireChain(t, r, send(f, other()))
		}
		r.Remove(given)
		require.Empty(t, given)
	}
}

func TestNewReaderRefuses(t *testing.T) {
	for _, f := range []forwarded.Format{"", "apache", "Nginx", "nginx "} {
		r, err := forwarded.NewReader(f, "")
		require.ErrorIs(t, err, forwarded.ErrFormat)
		require.Nil(t, r)
	}
	for _, name := range []string{" ", "X Cert", "X-Cert:", "X-Cert\n", "X-Zért", "\x00", "*"} {
		r, err := forwarded.NewReader(forwarded.Nginx, name)
		require.ErrorIs(t, err, forwarded.ErrFormat, name)
		require.Nil(t, r)
	}
}

func TestTextDistinguishesHeaders(t *testing.T) {
	r, err := forwarded.NewReader(forwarded.RFC9440, "")
	require.NoError(t, err)
	seen := map[string]http.Header{}
	for _, h := range []http.Header{
		{},
		{"Client-Cert": {""}},
		{"Client-Cert": {"a"}},
		{"Client-Cert": {"a", "b"}},
		{"Client-Cert": {"a"}, "Client-Cert-Chain": {"b"}},
		{"Client-Cert": {"a"}, "Client-Cert-Chain": {"b", "c"}},
		{"Client-Cert": {"a"}, "Client-Cert-Chain": {"b, c"}},
		{"Client-Cert-Chain": {"a"}},
		{"Client-Cert": {"", "a"}},
	} {
		text := r.Text(h)
		require.NotContains(t, seen, text, "%v and %v", h, seen[text])
		seen[text] = h
	}
	require.Equal(t, "a", r.Text(http.Header{"Client-Cert": {"a"}, "Other": {"b"}}))
}
