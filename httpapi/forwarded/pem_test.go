package forwarded_test

import (
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/interlock-authz/interlock/httpapi/forwarded"
)

// badPEM lists texts, before encoding, that other decoders may accept as one certificate.
func badPEM() map[string]string {
	good := pemOf(leaf())
	headers := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf().Raw, Headers: map[string]string{"A": "b"}})
	lines := strings.SplitAfter(good, "\n")
	return map[string]string{
		"text before":       "subject=leaf\n" + good,
		"text after":        good + "x",
		"line before":       "\n" + good,
		"line after":        good + "\n",
		"space after":       good + " ",
		"carriage returns":  strings.ReplaceAll(good, "\n", "\r\n"),
		"one line":          "-----BEGIN CERTIFICATE-----\n" + base64Of(leaf()) + "\n-----END CERTIFICATE-----\n",
		"spaces for lines":  strings.ReplaceAll(good, "\n", " "),
		"tabs before lines": strings.ReplaceAll(good, "\n", "\n\t"),
		"another type":      strings.ReplaceAll(good, "CERTIFICATE", "TRUSTED CERTIFICATE"),
		"headers":           string(headers),
		"a broken block":    strings.Join(lines[:3], "") + good,
		"no end":            strings.Join(lines[:len(lines)-2], ""),
		"empty block":       "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
		"base64 alone":      base64Of(leaf()),
		"too much padding":  strings.Replace(pemOf(mintPadded()), "=", "==", 1),
		"two":               good + good,
	}
}

func TestEscapedPEMRefuses(t *testing.T) {
	for name, text := range badPEM() {
		t.Run(name, func(t *testing.T) {
			requireRefused(t, forwarded.Nginx, http.Header{escapedCert: {escape(text)}}, escapedCert)
			requireRefused(t, forwarded.Envoy, http.Header{xfcc: {
				"Hash=" + hashOf(leaf()) + `;Cert="` + escape(text) + `"`,
			}}, xfcc)
			if name != "two" {
				requireRefused(t, forwarded.Envoy, http.Header{xfcc: {
					pairs(leaf()) + `;Chain="` + escape(text) + `"`,
				}}, xfcc)
			}
		})
	}
}

func TestEscapedPEMRefusesEncodings(t *testing.T) {
	good := escape(pemOf(leaf()))
	for name, value := range map[string]string{
		"plus for spaces":     strings.ReplaceAll(good, "%20", "+"),
		"a percent alone":     good + "%",
		"no hexadecimal":      strings.Replace(good, "%0A", "%0G", 1),
		"encoded twice":       escape(good),
		"of $ssl_client_cert": strings.ReplaceAll(pemOf(leaf()), "\n", " "),
	} {
		t.Run(name, func(t *testing.T) {
			requireRefused(t, forwarded.Nginx, http.Header{escapedCert: {value}}, escapedCert)
		})
	}
}

// The last line break may be missing, and characters that need no encoding may be encoded.
func TestEscapedPEMReads(t *testing.T) {
	good := pemOf(leaf())
	for _, value := range []string{
		escape(good), escape(strings.TrimSuffix(good, "\n")),
		strings.ReplaceAll(strings.ReplaceAll(good, "\n", "%0a"), " ", "%20"),
	} {
		requireChain(t, newReader(t, forwarded.Nginx, ""), http.Header{escapedCert: {value}}, leaf())
	}
}

// The base64 of the certificate contains both characters that are percent-encoded.
func TestBarePEMReadsBothSpellings(t *testing.T) {
	cert := mint("signs")
	for !strings.Contains(base64Of(cert), "+") || !strings.Contains(base64Of(cert), "/") {
		cert = mint("signs")
	}
	plain, escaped := base64Of(cert), url.QueryEscape(base64Of(cert))
	r := newReader(t, forwarded.Traefik, "")
	requireChain(t, r, http.Header{traefikCert: {plain + "," + base64Of(middle())}}, cert, middle())
	requireChain(t, r, http.Header{traefikCert: {escaped + "," + url.QueryEscape(base64Of(middle()))}}, cert, middle())
	for name, value := range map[string]string{
		"both in one":            escaped + "," + plain,
		"half encoded":           strings.Replace(escaped, "%2B", "+", 1),
		"lower case":             strings.ReplaceAll(escaped, "%2B", "%2b"),
		"a letter encoded":       strings.Replace(plain, "M", "%4D", 1),
		"a letter encoded too":   strings.Replace(escaped, "M", "%4D", 1),
		"encoded twice":          url.QueryEscape(escaped),
		"an encoded comma":       plain + "%2C" + plain,
		"a space for a plus":     strings.ReplaceAll(plain, "+", " "),
		"a space":                plain + ", " + plain,
		"a comma after":          plain + ",",
		"a semicolon":            plain + ";" + plain,
		"delimiters":             "-----BEGIN CERTIFICATE-----" + plain + "-----END CERTIFICATE-----",
		"a line end":             plain[:64] + "\n" + plain[64:],
		"a line end, encoded":    escaped[:64] + "%0A" + escaped[64:],
		"what nginx sends":       escape(pemOf(cert)),
		"what HAProxy sends":     sequence(cert),
		"an invalid encoding":    plain + "%",
		"an invalid certificate": plain + ",AAAA",
	} {
		t.Run(name, func(t *testing.T) {
			requireRefused(t, forwarded.Traefik, http.Header{traefikCert: {value}}, traefikCert)
		})
	}
}
