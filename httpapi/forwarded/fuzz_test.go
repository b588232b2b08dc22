package forwarded_test

import (
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/forwarded"
)

// checkChain reads h and checks the promises of every format: it returns certificates, or none,
// or only an error, and the certificates are the same when they are sent again.
func checkChain(t *testing.T, f forwarded.Format, h http.Header) []*x509.Certificate {
	r := newReader(t, f, "")
	got, err := r.Chain(h)
	if err != nil {
		require.Nil(t, got)
		require.ErrorIs(t, err, forwarded.ErrMalformed)
		return nil
	}
	if got == nil {
		require.Contains(t, [][]string{nil, {haproxyNone}, {caddyNone}, {""}}, h[headers[f]])
		return nil
	}
	require.NotEmpty(t, got)
	require.LessOrEqual(t, len(got), 8)
	requireChain(t, r, send(f, got...), got...)
	return got
}

// FuzzForwardedByteSequence reads two headers in the formats of RFC 9440, HAProxy and Caddy. The
// first header is accepted only if it is exactly the leaf, or says that there is none. The seeds
// include near misses.
func FuzzForwardedByteSequence(f *testing.F) {
	good, padded := sequence(leaf()), sequence(mintPadded())
	body := strings.TrimRight(padded[:len(padded)-1], "=")
	for _, cert := range []string{
		good, "::", caddyNone, "", ":AAAA:", good + ";a", good[:65] + "\n" + good[65:], good + " ", good[1:],
		padded, body + ":", body[:len(body)-1] + nextSign(body) + padded[len(body):],
	} {
		for _, chain := range []string{"", sequence(middle()), sequence(middle()) + " ,\t" + sequence(upper()), ",", "::"} {
			f.Add(cert, chain)
		}
	}
	f.Fuzz(func(t *testing.T, cert, chain string) {
		for _, format := range sequenceFormats {
			h := http.Header{clientCert: {cert}}
			if chain != "" {
				h[clientChain] = []string{chain}
			}
			got := checkChain(t, format, h)
			if got == nil {
				continue
			}
			require.Equal(t, cert, sequence(got[0]))
			var list []string
			for _, above := range got[1:] {
				list = append(list, sequence(above))
			}
			require.Equal(t, strings.Join(list, ","), strings.NewReplacer(" ", "", "\t", "").Replace(chain))
		}
	})
}

// FuzzForwardedPEM reads a header in the formats of nginx and Traefik. An accepted header is
// exactly an encoding of the resulting certificates. The seeds include near misses.
func FuzzForwardedPEM(f *testing.F) {
	for _, text := range badPEM() {
		f.Add(escape(text))
		f.Add(text)
	}
	plain := pemOf(leaf())
	for _, seed := range []string{
		"", escape(plain), escape(plain + plain), base64Of(leaf()), base64Of(leaf()) + "," + base64Of(middle()),
		url.QueryEscape(base64Of(leaf())), "%", ",", strings.Replace(url.QueryEscape(base64Of(leaf())), "M", "%4D", 1),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if got := checkChain(t, forwarded.Nginx, http.Header{escapedCert: {value}}); got != nil {
			text, err := url.PathUnescape(value)
			require.NoError(t, err)
			require.Equal(t, pemOf(got...), strings.TrimSuffix(text, "\n")+"\n")
			require.Len(t, got, 1)
		}
		if got := checkChain(t, forwarded.Traefik, http.Header{traefikCert: {value}}); got != nil {
			sent := send(forwarded.Traefik, got...).Get(traefikCert)
			require.Contains(t, []string{sent, strings.ReplaceAll(url.QueryEscape(sent), "%2C", ",")}, value)
		}
	})
}

// FuzzForwardedXFCC reads a header in Envoy's format. A fuzzer cannot guess a hash, so words in
// its input stand for certificates and hashes. An accepted header contains the resulting
// certificate and its hash.
func FuzzForwardedXFCC(f *testing.F) {
	for _, seed := range []string{
		"", "$HASH;$CERT", "$HASH;$CERT;URI=a;DNS=", "$HASH;$CERT;$CHAIN", "$HASH;$CERT,$HASH;$CERT", "$HASH;$CERT;$CERT",
		`Subject="CN=\"a\\";$CERT;$HASH`, `$HASH;Cert="a\";$CERT"`, "$CERT", "$HASH;URI=a;$OTHER", "$HASH;$OTHER;$CHAIN",
		"$CERT;$CHAIN", "$HASH;$CHAIN", "Hash=;$OTHER", `By=a;Hash=b;Subject="/C=US"`,
	} {
		f.Add(seed)
	}
	words := strings.NewReplacer(
		"$HASH", "Hash="+hashOf(leaf()),
		"$CERT", `Cert="`+escape(pemOf(leaf()))+`"`,
		"$OTHER", `Cert="`+escape(pemOf(other()))+`"`,
		"$CHAIN", `Chain="`+escape(pemOf(leaf(), middle()))+`"`,
	)
	f.Fuzz(func(t *testing.T, value string) {
		value = words.Replace(value)
		got := checkChain(t, forwarded.Envoy, http.Header{xfcc: {value}})
		if got == nil {
			return
		}
		elements, ok := forwarded.ParseXFCC(value)
		require.True(t, ok)
		require.Len(t, elements, 1)
		require.Contains(t, value, hashOf(got[0]))
		text, err := url.PathUnescape(elements[0]["cert"][0])
		require.NoError(t, err)
		require.Equal(t, pemOf(got[0]), strings.TrimSuffix(text, "\n")+"\n")
		if len(got) > 1 {
			text, err = url.PathUnescape(elements[0]["chain"][0])
			require.NoError(t, err)
			require.Equal(t, pemOf(got...), strings.TrimSuffix(text, "\n")+"\n")
		}
	})
}
