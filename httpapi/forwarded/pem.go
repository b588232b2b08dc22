package forwarded

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
)

// readEscapedPEM reads the percent-encoded PEM of only the leaf, as nginx sends it.
func readEscapedPEM(r *Reader, h http.Header) ([]*x509.Certificate, error) {
	line, _, err := r.line(h)
	if err != nil || line == "" {
		return nil, err
	}
	ders, err := r.escapedPEM(line)
	if err != nil {
		return nil, err
	}
	if len(ders) != 1 {
		return nil, r.malformed(r.header, "has %d certificates, but this proxy sends only the client's", len(ders))
	}
	return r.parse(r.header, ders...)
}

// escapedPEM decodes one or more percent-encoded PEM blocks without other text. Each block must
// be exactly what OpenSSL, BoringSSL and Go write, because PEM decoders skip unknown text in
// different ways. Only the last line break may be missing.
func (r *Reader) escapedPEM(text string) ([][]byte, error) {
	plain, err := url.PathUnescape(text)
	if err != nil {
		return nil, r.malformed(r.header, "is not percent-encoded (%.40q)", err.Error())
	}
	if !strings.HasSuffix(plain, "\n") {
		plain += "\n" // an empty text is then an error too
	}
	var ders [][]byte
	for rest := []byte(plain); len(rest) > 0; {
		if err := r.checkRoom(r.header, len(ders)); err != nil {
			return nil, err
		}
		block, after := pem.Decode(rest)
		if block == nil || !bytes.Equal(encodePEM(block.Bytes), rest[:len(rest)-len(after)]) {
			return nil, r.malformed(r.header, "certificate %d is not canonical PEM, or has other text around it",
				len(ders)+1)
		}
		ders = append(ders, block.Bytes)
		rest = after
	}
	return ders, nil
}

func encodePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// readBarePEM reads PEM without its delimiters and line breaks, as Traefik sends it. Versions
// before 2.9.4 percent-encode it. A value does not mix both encodings.
func readBarePEM(r *Reader, h http.Header) ([]*x509.Certificate, error) {
	line, found, err := r.line(h)
	if err != nil || !found {
		return nil, err
	}
	escaped := strings.Contains(line, "%")
	var ders [][]byte
	for member := range strings.SplitSeq(line, ",") {
		if err := r.checkRoom(r.header, len(ders)); err != nil {
			return nil, err
		}
		der, ok := decodeBare(member, escaped)
		if !ok {
			return nil, r.malformed(r.header, "certificate %d is not base64, with or without percent-encoding: %.40q",
				len(ders)+1, member)
		}
		ders = append(ders, der)
	}
	return r.parse(r.header, ders...)
}

// decodeBare accepts only the percent-encoding that the encoder writes.
func decodeBare(text string, escaped bool) ([]byte, bool) {
	if !escaped {
		return decodeBase64(text)
	}
	plain, err := url.QueryUnescape(text)
	if err != nil || url.QueryEscape(plain) != text {
		return nil, false
	}
	return decodeBase64(plain)
}
