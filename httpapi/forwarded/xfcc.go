package forwarded

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"strings"
)

// element is what one proxy on the way wrote into X-Forwarded-Client-Cert. Keys are in
// lower case. Envoy writes a value for each name of the certificate, so there are lists.
type element map[string][]string

// readXFCC reads Envoy's header.
//
// Envoy puts a certificate's URIs and DNS names there as they are, so that a name with
// commas and semicolons in it can look like further keys and elements. Hence only what
// Envoy writes itself is read (Hash, Cert and Chain), each only if it is there once, and
// Hash has to be there: Envoy always writes it, of the certificate that was presented, so
// that a name cannot bring another certificate along.
func readXFCC(r *Reader, h http.Header) ([]*x509.Certificate, error) {
	line, found, err := r.line(h)
	if err != nil || !found {
		return nil, err
	}
	elements, ok := parseXFCC(line)
	if !ok {
		return nil, r.malformed(r.header, "%.40q … is not elements of key=value", line)
	}
	if len(elements) > 1 {
		return nil, r.malformed(r.header, "has %d elements, and only one can be this proxy's", len(elements))
	}
	for _, key := range []string{"cert", "chain", "hash"} {
		if n := len(elements[0][key]); n > 1 {
			return nil, r.malformed(r.header, "has %d values for %q, which this proxy writes once", n, key)
		}
	}
	return r.fromElement(elements[0])
}

// fromElement takes the certificates of an element that has each of its keys once.
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
		return nil, r.malformed(r.header, "has no Cert, and dates and revocation cannot be read off anything else")
	}
	ders, err := r.escapedPEM(e["cert"][0])
	if err != nil {
		return nil, err
	}
	if len(ders) != 1 {
		return nil, r.malformed(r.header, "has %d certificates in Cert, where one belongs", len(ders))
	}
	hash := sha256.Sum256(ders[0])
	if len(e["hash"]) == 0 || e["hash"][0] != hex.EncodeToString(hash[:]) {
		return nil, r.malformed(r.header, "has no Hash that is the SHA-256 of Cert")
	}
	return ders[0], nil
}

// parseXFCC splits a header's value: elements by commas, pairs by semicolons. A value in
// quotes may hold both; a backslash there takes the meaning from a quote or a backslash
// behind it.
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

// cutPair takes the first pair off text; what is left begins with the separator, or is
// empty.
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

// cutQuoted takes a value off text that ends at the first quote without a backslash.
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
