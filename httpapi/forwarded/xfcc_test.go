package forwarded_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/forwarded"
)

func TestXFCCReads(t *testing.T) {
	good, both := pairs(leaf()), escape(pemOf(leaf(), middle()))
	for name, value := range map[string]string{
		"Hash and Cert":       good,
		"keys in other cases": strings.NewReplacer("Hash", "hASH", "Cert=", "cert=").Replace(good),
		"values for names":    good + ";URI=spiffe://a/b;URI=spiffe://a/c;DNS=a;DNS=b",
		"unknown keys":        good + ";New=1;Other=\"2\"",
		"empty values":        good + ";URI=;DNS=;Subject=\"\"",
		"an equals sign":      good + ";URI=https://a/?b=c",
		"quoted separators":   good + `;Subject="O=a, Inc;CN=\"x\",Cert=\\"`,
		"another order":       `Subject="CN=a\\";Cert="` + escape(pemOf(leaf())) + `";Hash=` + hashOf(leaf()),
		"no quotes":           strings.ReplaceAll(good, `"`, ""),
	} {
		t.Run(name, func(t *testing.T) {
			requireChain(t, newReader(t, forwarded.Envoy, ""), http.Header{xfcc: {value}}, leaf())
			value += `;Chain="` + both + `"`
			requireChain(t, newReader(t, forwarded.Envoy, ""), http.Header{xfcc: {value}}, leaf(), middle())
		})
	}
}

func TestXFCCRefuses(t *testing.T) {
	good, hash := pairs(leaf()), "Hash="+hashOf(leaf())
	cert, forged := `Cert="`+escape(pemOf(leaf()))+`"`, `Cert="`+escape(pemOf(other()))+`"`
	chain := `Chain="` + escape(pemOf(leaf(), middle())) + `"`
	for name, value := range map[string]string{
		"two elements":             good + "," + good,
		"two elements and a space": good + ", By=a;" + hash,
		"an empty element":         good + ",",
		"an empty element first":   "," + good,
		"an empty pair":            good + ";;URI=a",
		"a semicolon after":        good + ";",
		"no value":                 good + ";URI",
		"no key":                   good + ";=a",
		"an invalid key":           good + ";U RI=a",
		"no Cert":                  "By=a;" + hash + ";URI=spiffe://a/b",
		"Chain without Cert":       hash + ";" + chain,
		"no Hash":                  cert,
		"another's Hash":           "Hash=" + hashOf(other()) + ";" + cert,
		"Hash in capitals":         "Hash=" + strings.ToUpper(hashOf(leaf())) + ";" + cert,
		"half a Hash":              hash[:20] + ";" + cert,
		"two Hashes":               hash + ";" + good,
		"two Certs":                good + ";" + cert,
		"two Certs, another case":  good + ";c" + cert[1:],
		"two Chains":               good + ";" + chain + ";" + chain,
		"an empty Cert":            hash + `;Cert=""`,
		"an empty Chain":           good + `;Chain=""`,
		"two in Cert":              hash + `;Cert="` + escape(pemOf(leaf(), middle())) + `"`,
		"Chain without the leaf":   good + `;Chain="` + escape(pemOf(middle())) + `"`,
		"Chain in another order":   good + `;Chain="` + escape(pemOf(middle(), leaf())) + `"`,
		"an unclosed quote":        good + `;Subject="CN=a`,
		"a quote that is escaped":  good + `;Subject="CN=a\"`,
		"text after a quote":       good + `;Subject="CN=a"b`,
		"a quote within a value":   good + `;URI=a"b"`,

		// Names that a certificate can have if its CA permits them.
		"a URI with a Cert":             good + ";URI=spiffe://a/b;" + forged,
		"a URI with a Cert, and none":   hash + ";URI=spiffe://a/b;" + forged,
		"a URI with an element":         good + ";URI=spiffe://a/b,Hash=" + hashOf(other()) + ";" + forged,
		"a URI with all of it, no Cert": hash + ";URI=a;Hash=" + hashOf(other()) + ";" + forged,
		"a URI with a Chain":            good + ";URI=a;Chain=\"" + escape(pemOf(other())) + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			refused := requireRefused(t, forwarded.Envoy, http.Header{xfcc: {value}}, xfcc)
			require.Contains(t, refused.Detail, "cert: true", "what to configure")
		})
	}
}

func TestXFCCElements(t *testing.T) {
	for text, want := range map[string][]map[string][]string{
		"A=1":             {{"a": {"1"}}},
		"A=1;a=2;B=":      {{"a": {"1", "2"}, "b": {""}}},
		"A=1,A=2, B=3":    {{"a": {"1"}}, {"a": {"2"}}, {"b": {"3"}}},
		`A="1;2,3=";B=4`:  {{"a": {"1;2,3="}, "b": {"4"}}},
		`A="\"\\\n\";B="`: {{"a": {`"\\n";B=`}}},
		`A="";B="x"`:      {{"a": {""}, "b": {"x"}}},
	} {
		got, ok := forwarded.ParseXFCC(text)
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "A", "=", "A=1;", "A=1,", ";A=1", `A="`, `A="\"`, `A=1"`, `A="1"2`, `A="1"xB=2`, "A=1; =2", "Ä=1"} {
		_, ok := forwarded.ParseXFCC(text)
		require.False(t, ok, text)
	}
}

// A name with delimiters adds no keys.
func TestXFCCIsWrittenAsItIsRead(t *testing.T) {
	for _, name := range []string{"spiffe://a/b", `spiffe://a/b;Cert="c"`, "spiffe://a/b,Hash=c", "spiffe://a/b\\"} {
		cert := *leaf()
		cert.URIs = []*url.URL{{Opaque: name}}
		text := forwarded.XFCC(&cert)
		requireChain(t, newReader(t, forwarded.Envoy, ""), http.Header{xfcc: {text}}, leaf())
		elements, ok := forwarded.ParseXFCC(text)
		require.True(t, ok, text)
		require.Equal(t, []string{name}, elements[0]["uri"])
	}
}
