package forwarded

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Format is the header format of one kind of proxy.
type Format string

// The formats. The package documentation describes each.
const (
	RFC9440 Format = "rfc9440"
	Envoy   Format = "envoy"
	Nginx   Format = "nginx"
	HAProxy Format = "haproxy"
	Caddy   Format = "caddy"
	Traefik Format = "traefik"
)

// Limits of a header.
const (
	maxBytes        = 64 << 10 // all lines of the header together
	maxCertificates = 8
)

var (
	// ErrFormat is wrapped for an unknown format or an invalid header name.
	ErrFormat = errors.New("forwarded: invalid format")
	// ErrMalformed is wrapped by every [Error].
	ErrMalformed = errors.New("forwarded: malformed client certificate")
)

// Error says why a header was rejected. It wraps [ErrMalformed].
type Error struct {
	Format Format
	// Header is the name of the rejected header.
	Header string
	// Detail says what is wrong and what to do. Text from the header is quoted and shortened,
	// so it is safe to log.
	Detail string
}

// Error returns the header, what is wrong with it and what to do.
func (e *Error) Error() string {
	return fmt.Sprintf("%v: %s from %s: %s", ErrMalformed, e.Header, e.Format, e.Detail)
}

// Unwrap returns [ErrMalformed].
func (e *Error) Unwrap() error { return ErrMalformed }

// spelling describes the headers of one kind of proxy.
type spelling struct {
	header string // the default name
	none   string // the value for a client without a certificate; "" if the proxy omits the header
	advice string // how to configure the proxy; HEADER is replaced by the header's name
	read   func(*Reader, http.Header) ([]*x509.Certificate, error)
}

var spellings = map[Format]spelling{
	RFC9440: {
		header: "Client-Cert",
		advice: "configure the proxy to set HEADER as in RFC 9440 and to remove the client's own",
		read:   readByteSequences,
	},
	HAProxy: {
		header: "Client-Cert", none: "::",
		advice: "configure 'http-request set-header HEADER :%[ssl_c_der,base64]:' in the frontend",
		read:   readByteSequences,
	},
	Caddy: {
		header: "Client-Cert", none: ":{http.request.tls.client.certificate_der_base64}:",
		advice: `configure 'header_up HEADER ":{http.request.tls.client.certificate_der_base64}:"'`,
		read:   readByteSequences,
	},
	Nginx: {
		header: "X-SSL-Client-Escaped-Cert",
		advice: "configure 'proxy_set_header HEADER $ssl_client_escaped_cert;'",
		read:   readEscapedPEM,
	},
	Envoy: {
		header: "X-Forwarded-Client-Cert",
		advice: "configure 'forward_client_cert_details: SANITIZE_SET' and " +
			"'set_current_client_cert_details: {cert: true, chain: true}'",
		read: readXFCC,
	},
	Traefik: {
		header: "X-Forwarded-Tls-Client-Cert",
		advice: "configure the middleware 'passTLSClientCert: {pem: true}', and do not trust any address at the entry point",
		read:   readBarePEM,
	},
}

// Reader reads the headers of one kind of proxy. It is immutable and safe for concurrent use.
type Reader struct {
	format Format
	header string // in canonical form, like the keys of [http.Header]
	chain  string // the header of intermediate certificates
	spelling
}

// NewReader returns a reader of format f. It reads the header with the given name, or the
// format's default header if the name is "". RFC 9440 has a separate header for intermediate
// certificates, whose name is the header's name followed by "-Chain". An unknown format and
// an invalid header name are errors that wrap [ErrFormat].
func NewReader(f Format, header string) (*Reader, error) {
	s, known := spellings[f]
	if !known {
		return nil, fmt.Errorf("%w: %.40q is not one of %v; set the kind of the proxy", ErrFormat, f,
			slices.Sorted(maps.Keys(spellings)))
	}
	if header == "" {
		header = s.header
	}
	if !isToken(header) {
		return nil, fmt.Errorf("%w: %.40q is not a header name; use letters, digits, - and _", ErrFormat, header)
	}
	s.advice = strings.ReplaceAll(s.advice, "HEADER", header)
	header = http.CanonicalHeaderKey(header)
	return &Reader{format: f, header: header, chain: http.CanonicalHeaderKey(header + "-Chain"), spelling: s}, nil
}

// isToken reports whether name is a token of RFC 9110 without its less common characters,
// which some servers drop or replace.
func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
	})
}

// Chain returns the client's certificate and the intermediate certificates that the proxy
// sent, leaf first. It returns nil and no error if the header says, in the proxy's format,
// that the client presented no certificate. All errors are *[Error].
//
// Chain does not verify signatures, or the order of the certificates after the leaf, or that
// the client holds the key: the proxy vouches for the key. The keys of h must be in canonical
// form, as in a request. Each call parses the header again. The caller owns the certificates.
func (r *Reader) Chain(h http.Header) ([]*x509.Certificate, error) { return r.read(r, h) }

// Text returns everything that [Reader.Chain] reads, as a key for a cache: headers with the
// same text have the same chain.
func (r *Reader) Text(h http.Header) string {
	lines, above := h[r.header], h[r.chain]
	if len(lines) == 1 && len(above) == 0 {
		return lines[0]
	}
	return strings.Join(lines, "\x00") + "\x00\x00" + strings.Join(above, "\x00") // a header cannot contain NUL
}

// malformed returns an [Error] with the format's advice.
func (r *Reader) malformed(header, format string, args ...any) error {
	return &Error{Format: r.format, Header: header, Detail: fmt.Sprintf(format, args...) + "; " + r.advice}
}

// line returns the only line of the header, and whether there is one.
func (r *Reader) line(h http.Header) (line string, found bool, err error) {
	lines := h[r.header]
	if len(lines) == 0 {
		return "", false, nil
	}
	if len(lines) > 1 {
		return "", true, r.malformed(r.header, "occurs %d times, but only one can be the proxy's", len(lines))
	}
	return lines[0], true, r.checkLength(r.header, lines)
}

func (r *Reader) checkLength(header string, lines []string) error {
	n := 0
	for _, line := range lines {
		n += len(line)
	}
	if n > maxBytes {
		return r.malformed(header, "has %d bytes of at most %d", n, maxBytes)
	}
	return nil
}

// checkRoom returns an error if no further certificate is allowed after that many. It is
// called before each certificate is decoded.
func (r *Reader) checkRoom(header string, before int) error {
	if before >= maxCertificates {
		return r.malformed(header, "has more than %d certificates, including the client's", maxCertificates)
	}
	return nil
}

// parse parses the decoded certificates of a header.
func (r *Reader) parse(header string, ders ...[]byte) ([]*x509.Certificate, error) {
	chain := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, r.malformed(header, "certificate %d cannot be parsed (%.80q)", i+1, err.Error())
		}
		chain[i] = cert
	}
	return chain, nil
}
