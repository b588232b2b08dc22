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

// Format is the spelling of one kind of proxy.
type Format string

// The formats. The package's documentation shows each.
const (
	RFC9440 Format = "rfc9440"
	Envoy   Format = "envoy"
	Nginx   Format = "nginx"
	HAProxy Format = "haproxy"
	Caddy   Format = "caddy"
	Traefik Format = "traefik"
)

// How much a request may carry of it.
const (
	maxBytes        = 64 << 10 // of one header, all its lines together
	maxCertificates = 8
)

var (
	// ErrFormat is a format that is not known, or a header's name that is none.
	ErrFormat = errors.New("forwarded: unusable format")
	// ErrMalformed is what every [Error] is, by [errors.Is].
	ErrMalformed = errors.New("forwarded: malformed client certificate")
)

// Error says why a header was refused. It is [ErrMalformed].
type Error struct {
	Format Format
	// Header is the name of the header that was refused.
	Header string
	// Detail says for people what is wrong and what to do. Text from the header stands in
	// it quoted and cut, so that it can be logged.
	Detail string
}

// Error names the header, what is wrong with it and what to do.
func (e *Error) Error() string {
	return fmt.Sprintf("%v: %s from %s: %s", ErrMalformed, e.Header, e.Format, e.Detail)
}

// Unwrap gives [ErrMalformed].
func (e *Error) Unwrap() error { return ErrMalformed }

// spelling is how one kind of proxy writes.
type spelling struct {
	header string // the default name
	none   string // the value for a client without a certificate; "" if the header is left out
	advice string // what makes the proxy send it; HEADER stands for the header's name
	read   func(*Reader, http.Header) ([]*x509.Certificate, error)
}

var spellings = map[Format]spelling{
	RFC9440: {
		header: "Client-Cert",
		advice: "let the proxy set it as RFC 9440 says and remove the client's own",
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
		advice: "configure the middleware 'passTLSClientCert: {pem: true}', and trust no address at the entry point",
		read:   readBarePEM,
	},
}

// Reader reads what one kind of proxy sends. It is immutable and safe for concurrent use.
type Reader struct {
	format Format
	header string // canonical, as [http.Header] has its keys
	chain  string // the header of intermediates, where the format has one
	spelling
}

// NewReader reads format f from the header of that name, or from the format's own if it
// is "". Where intermediates have a header of their own (RFC 9440), its name is that of
// the header with "-Chain" behind it. An unknown format and a name that no header can
// have are errors that wrap [ErrFormat].
func NewReader(f Format, header string) (*Reader, error) {
	s, known := spellings[f]
	if !known {
		return nil, fmt.Errorf("%w: %.40q is none of %v; name the proxy's kind", ErrFormat, f,
			slices.Sorted(maps.Keys(spellings)))
	}
	if header == "" {
		header = s.header
	}
	if !isToken(header) {
		return nil, fmt.Errorf("%w: %.40q cannot be a header's name; it takes letters, digits, - and _", ErrFormat, header)
	}
	s.advice = strings.ReplaceAll(s.advice, "HEADER", header)
	header = http.CanonicalHeaderKey(header)
	return &Reader{format: f, header: header, chain: http.CanonicalHeaderKey(header + "-Chain"), spelling: s}, nil
}

// isToken tells whether name is a token of RFC 9110 without its rarer signs, which servers
// on the way drop or replace.
func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
	})
}

// Chain returns the client's certificate, and those of intermediates that the proxy sent
// with it, leaf first. It returns nil and no error if the proxy says, in its own spelling,
// that the client presented none. Anything else is an *[Error].
//
// Nothing is verified: neither who signed the certificates, nor their order behind the
// leaf, nor that the client holds the key, for which the proxy has to vouch. The keys of h
// are canonical, as those of a request are. Each call parses anew, and the certificates
// are the caller's.
func (r *Reader) Chain(h http.Header) ([]*x509.Certificate, error) { return r.read(r, h) }

// Text returns all that [Reader.Chain] reads, to tell whether it was read before: what has
// the same text has the same chain.
func (r *Reader) Text(h http.Header) string {
	lines, above := h[r.header], h[r.chain]
	if len(lines) == 1 && len(above) == 0 {
		return lines[0]
	}
	return strings.Join(lines, "\x00") + "\x00\x00" + strings.Join(above, "\x00") // no header has a NUL in it
}

// malformed makes the error of a refusal: what is wrong, and the format's advice.
func (r *Reader) malformed(header, format string, args ...any) error {
	return &Error{Format: r.format, Header: header, Detail: fmt.Sprintf(format, args...) + "; " + r.advice}
}

// line returns the header's one line, and whether there is one.
func (r *Reader) line(h http.Header) (line string, found bool, err error) {
	lines := h[r.header]
	if len(lines) == 0 {
		return "", false, nil
	}
	if len(lines) > 1 {
		return "", true, r.malformed(r.header, "is there %d times, and one is not the proxy's", len(lines))
	}
	return lines[0], true, r.checkLength(r.header, lines)
}

func (r *Reader) checkLength(header string, lines []string) error {
	n := 0
	for _, line := range lines {
		n += len(line)
	}
	if n > maxBytes {
		return r.malformed(header, "is %d bytes long, and %d are read at most", n, maxBytes)
	}
	return nil
}

// checkRoom is asked before one more certificate is decoded, with the number of those
// before it.
func (r *Reader) checkRoom(header string, before int) error {
	if before >= maxCertificates {
		return r.malformed(header, "holds too many certificates: %d are read at most, the client's among them", maxCertificates)
	}
	return nil
}

// parse makes certificates of what the header was decoded to.
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
