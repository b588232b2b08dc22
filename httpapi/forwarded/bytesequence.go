package forwarded

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"strings"
)

// readByteSequences reads the leaf from its header, and intermediate certificates from the list
// in the chain's header, if any, as in RFC 9440.
func readByteSequences(r *Reader, h http.Header) ([]*x509.Certificate, error) {
	line, found, err := r.line(h)
	if err != nil {
		return nil, err
	}
	if isSaid := r.none != ""; line == r.none && found == isSaid {
		return nil, r.expectNoChain(h)
	}
	if !found {
		return nil, r.malformed(r.header, "is missing, but this proxy always sends it: %q for no certificate", r.none)
	}
	leaf, err := r.byteSequence(r.header, line)
	if err != nil {
		return nil, err
	}
	rest, err := r.byteSequences(h[r.chain])
	if err != nil {
		return nil, err
	}
	return r.join(leaf, rest)
}

// expectNoChain rejects intermediate certificates without a client's certificate.
func (r *Reader) expectNoChain(h http.Header) error {
	if len(h[r.chain]) > 0 {
		return r.malformed(r.chain, "is present without a client's certificate in %s", r.header)
	}
	return nil
}

func (r *Reader) join(leaf []byte, rest [][]byte) ([]*x509.Certificate, error) {
	for _, der := range rest {
		if bytes.Equal(der, leaf) {
			return nil, r.malformed(r.chain, "repeats the client's certificate, which belongs in its own header")
		}
	}
	chain, err := r.parse(r.header, leaf)
	if err != nil {
		return nil, err
	}
	above, err := r.parse(r.chain, rest...)
	if err != nil {
		return nil, err
	}
	return append(chain, above...), nil
}

// byteSequences decodes the list of intermediate certificates, which can span several lines.
func (r *Reader) byteSequences(lines []string) ([][]byte, error) {
	if err := r.checkLength(r.chain, lines); err != nil {
		return nil, err
	}
	var list [][]byte
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			if err := r.checkRoom(r.chain, 1+len(list)); err != nil {
				return nil, err
			}
			der, err := r.byteSequence(r.chain, strings.Trim(member, " \t"))
			if err != nil {
				return nil, err
			}
			list = append(list, der)
		}
	}
	return list, nil
}

// byteSequence decodes a byte sequence of RFC 9651 without parameters. Padding is required,
// which is stricter than the RFC, so a certificate has exactly one encoding.
func (r *Reader) byteSequence(header, text string) ([]byte, error) {
	inner, opened := strings.CutPrefix(text, ":")
	inner, closed := strings.CutSuffix(inner, ":")
	if !opened || !closed {
		return nil, r.malformed(header, "%.40q is not a byte sequence (base64 between colons)", text)
	}
	der, ok := decodeBase64(inner)
	if !ok {
		return nil, r.malformed(header, "%.40q is not the base64 of a certificate", text)
	}
	return der, nil
}

var strictBase64 = base64.StdEncoding.Strict()

// decodeBase64 decodes padded base64. The check of the length rejects line breaks, which the
// decoder of the standard library skips.
func decodeBase64(text string) ([]byte, bool) {
	data, err := strictBase64.DecodeString(text)
	return data, err == nil && strictBase64.EncodedLen(len(data)) == len(text)
}
