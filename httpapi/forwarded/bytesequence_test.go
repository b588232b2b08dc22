package forwarded_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/interlock-authz/interlock/httpapi/forwarded"
)

var sequenceFormats = []forwarded.Format{forwarded.RFC9440, forwarded.HAProxy, forwarded.Caddy}

func TestByteSequenceRefuses(t *testing.T) {
	good := sequence(leaf())
	inner := base64Of(leaf())
	for name, value := range map[string]string{
		"no colons":            inner,
		"no colon before":      good[1:],
		"no colon after":       good[:len(good)-1],
		"one colon":            ":",
		"parameters":           good + ";a=1",
		"two members":          good + ", " + good,
		"space before":         " " + good,
		"space after":          good + " ",
		"a string":             `"` + inner + `"`,
		"bare PEM":             "-----BEGIN CERTIFICATE-----" + inner + "-----END CERTIFICATE-----",
		"an invalid character": ":" + strings.Replace(inner, "M", "!", 1) + ":",
		"alphabet for URLs":    ":" + strings.Replace(inner, "M", "-", 1) + ":",
		"line end":             ":" + inner[:64] + "\n" + inner[64:] + ":",
		"carriage return":      ":" + inner + "\r:",
		"another placeholder":  ":{http.request.tls.client.certificate_pem}:",
	} {
		for _, f := range sequenceFormats {
			t.Run(name+" "+string(f), func(t *testing.T) {
				requireRefused(t, f, http.Header{clientCert: {value}}, clientCert)
			})
		}
	}
}

// The base64 needs padding. It has none, too much, or unused bits that are set.
func TestByteSequenceIsStrictAboutPadding(t *testing.T) {
	padded := mintPadded()
	inner := base64Of(padded)
	body := strings.TrimRight(inner, "=")
	for _, f := range sequenceFormats {
		requireChain(t, newReader(t, f, ""), http.Header{clientCert: {":" + inner + ":"}}, padded)
		for _, text := range []string{body, inner + "=", inner + "====", body[:len(body)-1] + nextSign(body) + inner[len(body):]} {
			requireRefused(t, f, http.Header{clientCert: {":" + text + ":"}}, clientCert)
		}
	}
}

func TestByteSequencesOfIntermediates(t *testing.T) {
	a, b := sequence(middle()), sequence(upper())
	for _, lines := range [][]string{{a + "," + b}, {a + ", " + b}, {a + "\t , \t" + b}, {a, b}} {
		for _, f := range sequenceFormats {
			h := http.Header{clientCert: {sequence(leaf())}, clientChain: lines}
			requireChain(t, newReader(t, f, ""), h, leaf(), middle(), upper())
		}
	}
}

func TestByteSequencesRefuse(t *testing.T) {
	a := sequence(middle())
	for name, lines := range map[string][]string{
		"an empty line":            {""},
		"an additional empty line": {a, ""},
		"a comma after":            {a + ","},
		"a comma before":           {"," + a},
		"parameters":               {a + ";a=1"},
		"no comma":                 {a + a},
		"a line end":               {a + ",\n" + sequence(upper())},
		"no certificate":           {a + ", :AAAA:"},
		"the leaf":                 {sequence(leaf())},
		"the leaf later":           {a + "," + sequence(leaf())},
		"HAProxy's none":           {"::"},
		"Caddy's none":             {caddyNone},
		"DERs in one sequence":     {":" + strings.TrimRight(base64Of(middle()), "=") + base64Of(upper()) + ":"},
	} {
		for _, f := range sequenceFormats {
			t.Run(name+" "+string(f), func(t *testing.T) {
				requireRefused(t, f, http.Header{clientCert: {sequence(leaf())}, clientChain: lines}, clientChain)
			})
		}
	}
}

func TestByteSequencesWithoutALeafAreRejected(t *testing.T) {
	for f, h := range map[forwarded.Format]http.Header{
		forwarded.RFC9440: {},
		forwarded.HAProxy: {clientCert: {haproxyNone}},
		forwarded.Caddy:   {clientCert: {caddyNone}},
	} {
		h[clientChain] = []string{sequence(middle())}
		requireRefused(t, f, h, clientChain)
	}
}
