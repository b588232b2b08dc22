package forwarded

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
)

// element is the part of X-Forwarded-Client-Cert that one proxy wrote. Keys are in lower case.
// A key has several values if Envoy writes one for each name of the certificate.
type element map[string][]string

// readXFCC reads Envoy's header.
//
// Envoy does not escape the URIs and DNS names of a certificate, so a name with commas and
// semicolons can look like further keys and elements. readXFCC therefore reads only Hash, Cert
// and Chain, and rejects repeated ones. Hash is required: Envoy always writes the hash of the
// presented certificate, so a name cannot add another certificate.
func readXFCC(r *Reader, h http.Header) ([]*x509.Certificate, error) {
	line, found, err := r.line(h)
	if err != nil || !found {
		return nil, err
	}
	elements, ok := parseXFCC(line)
	if !ok {
		return nil, r.malformed(r.header, "%.40q … does not consist of elements key=value", line)
	}
	if len(elements) > 1 {
		return nil, r.malformed(r.header, "has %d elements, but only one can be this proxy's", len(elements))
	}
	for _, key := range []string{"cert", "chain", "hash"} {
		if n := len(elements[0][key]); n > 1 {
			return nil, r.malformed(r.header, "has %d values for %q, but this proxy writes one", n, key)
		}
	}
	return r.fromElement(elements[0])
}

// fromElement returns the certificates of an element without repeated keys.
func (r *Reader) fromElement(e element) ([]*x509.Certificate, error) {
	leaf, err := r.certOf(e)
	if err != nil {
		return nil, err
	}
	ders := [][]byte{leaf}
	if len(e["chain"]) > 0 {
		if ders, err = r.escapedPEM(e["chain"][0]); err != nil {
			return nil, err
		}
	}
	if !bytes.Equal(ders[0], leaf) {
		return nil, r.malformed(r.header, "has a Chain that does not begin with Cert")
	}
	return r.parse(r.header, ders...)
}

// certOf decodes the one certificate in Cert and compares it with Hash.
func (r *Reader) certOf(e element) ([]byte, error) {
	if len(e["cert"]) == 0 {
		return nil, r.malformed(r.header, "has no Cert, which is needed to check validity and revocation")
	}
	ders, err := r.escapedPEM(e["cert"][0])
	if err != nil {
		return nil, err
	}
	if len(ders) != 1 {
		return nil, r.malformed(r.header, "has %d certificates in Cert instead of one", len(ders))
	}
	hash := sha256.Sum256(ders[0])
	if len(e["hash"]) == 0 || e["hash"][0] != hex.EncodeToString(hash[:]) {
		return nil, r.malformed(r.header, "has no Hash that equals the SHA-256 of Cert")
	}
	return ders[0], nil
}

// parseXFCC splits a header: elements are separated by commas, pairs by semicolons. A value in
// quotes can contain both, and a backslash in it escapes a quote or a backslash.
func parseXFCC(text string) ([]element, bool) {
	elements := []element{{}}
	for {
		key, value, rest, ok := cutPair(text)
		if !ok {
			return nil, false
		}
		last := elements[len(elements)-1]
		last[key] = append(last[key], value)
		if rest == "" {
			return elements, true
		}
		if rest[0] == ',' {
			elements = append(elements, element{})
		}
		text = rest[1:]
	}
}

// cutPair cuts the first pair from text. The rest is empty or begins with the separator.
func cutPair(text string) (key, value, rest string, ok bool) {
	key, after, found := strings.Cut(strings.TrimLeft(text, " \t"), "=")
	if !found || !isToken(key) {
		return "", "", "", false
	}
	key = strings.ToLower(key)
	if strings.HasPrefix(after, `"`) {
		value, rest, ok = cutQuoted(after[1:])
		return key, value, rest, ok && (rest == "" || rest[0] == ',' || rest[0] == ';')
	}
	end := strings.IndexAny(after, ",;")
	if end < 0 {
		end = len(after)
	}
	return key, after[:end], after[end:], !strings.Contains(after[:end], `"`)
}

// cutQuoted cuts a value from text. The value ends at the first quote without a backslash.
func cutQuoted(text string) (value, rest string, ok bool) {
	var plain strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			return plain.String(), text[i+1:], true
		case text[i] == '\\' && i+1 < len(text) && (text[i+1] == '"' || text[i+1] == '\\'):
			i++
		}
		plain.WriteByte(text[i])
	}
	return "", "", false
}

// XFCC returns the X-Forwarded-Client-Cert of a certificate with Hash, URI and Cert, as Envoy writes it.
func XFCC(cert *x509.Certificate) string {
	hash := sha256.Sum256(cert.Raw)
	text := "Hash=" + hex.EncodeToString(hash[:])
	for _, uri := range cert.URIs {
		text += ";URI=" + quoted(uri.String())
	}
	escaped := strings.ReplaceAll(url.QueryEscape(string(encodePEM(cert.Raw))), "+", "%20") // as in a path
	return text + `;Cert="` + escaped + `"`
}

// quoted quotes a value that has a delimiter.
func quoted(value string) string {
	if !strings.ContainsAny(value, `,;="\`) {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}
