package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// ErrNoTrustAnchors is wrapped for a configuration without client CAs, which would otherwise trust every CA of the
// system.
var ErrNoTrustAnchors = errors.New("certs: no CAs to trust")

// ErrMinVersion is wrapped for an unknown or unsupported TLS version.
var ErrMinVersion = errors.New("certs: not a version of TLS to begin with")

// ServerOptions says how [ServerConfig] makes the TLS configuration of a server.
type ServerOptions struct {
	// CertFile and KeyFile are read by [LoadKeyPair].
	CertFile, KeyFile string
	// Certificate, if there is one in it, is used in place of these files.
	Certificate tls.Certificate
	// ClientCAs holds the CAs of clients. It must not be empty, and belongs to the configuration from now on.
	ClientCAs *x509.CertPool
	// MinVersion is the oldest version of TLS that is spoken: [tls.VersionTLS12] or [tls.VersionTLS13], which 0 is.
	MinVersion uint16
}

// ServerConfig gives a configuration for a server: TLS 1.3 or as MinVersion says, HTTP/2 and HTTP/1.1. Cipher suites
// and key exchanges are Go's own, and a connection is not renegotiated.
//
// A client certificate that is given must verify, else the handshake fails. One that is not given does not
// fail the handshake (VerifyClientCertIfGiven), so that the server can answer 401 in words instead of an alert: every
// handler must therefore take the identity from [Identifier.Identify], which refuses an empty chain. Neither does a
// chain that is too large for a session get through it: see [CheckSize]. The errors are
// those of [LoadKeyPair], [ErrNoTrustAnchors] and [ErrMinVersion].
func ServerConfig(opts ServerOptions) (*tls.Config, error) {
	if opts.MinVersion == 0 {
		opts.MinVersion = tls.VersionTLS13
	}
	if opts.MinVersion != tls.VersionTLS12 && opts.MinVersion != tls.VersionTLS13 {
		return nil, fmt.Errorf("%w: %s; give TLS 1.2 or TLS 1.3", ErrMinVersion, tls.VersionName(opts.MinVersion))
	}
	if opts.ClientCAs == nil || opts.ClientCAs.Equal(x509.NewCertPool()) {
		return nil, fmt.Errorf("%w: give at least one CA of clients", ErrNoTrustAnchors)
	}
	if opts.Certificate.Certificate == nil {
		var err error
		if opts.Certificate, err = LoadKeyPair(opts.CertFile, opts.KeyFile); err != nil {
			return nil, err
		}
	}
	return &tls.Config{
		MinVersion:   opts.MinVersion,
		Certificates: []tls.Certificate{opts.Certificate},
		ClientAuth:   tls.VerifyClientCertIfGiven,
		ClientCAs:    opts.ClientCAs,
		NextProtos:   []string{"h2", "http/1.1"},

		VerifyConnection: CheckSize,
	}, nil
}

// ErrTooLarge is a chain of certificates that no TLS session can hold.
var ErrTooLarge = errors.New("certs: the certificates are too large")

// maxSession is how many bytes of certificates a session can hold. A ticket has at most 65,535 bytes, and so has the
// client's first message, in which it comes back with a key share and more.
const maxSession = 60 << 10

// CheckSize refuses a client whose certificates no session can hold, the verified chains besides those that it has
// sent: crypto/tls would end the connection without a word, if the client asks for a session. The error is
// [ErrTooLarge].
func CheckSize(state tls.ConnectionState) error {
	size := sizeOf(state.PeerCertificates)
	for _, chain := range state.VerifiedChains {
		size += sizeOf(chain[1:])
	}
	if size > maxSession {
		return fmt.Errorf("%w: with the chain they take %d bytes of at most %d; send fewer or smaller ones", ErrTooLarge, size, maxSession)
	}
	return nil
}

// sizeOf is how many bytes certificates take in a session.
func sizeOf(chain []*x509.Certificate) int {
	size := 0
	for _, cert := range chain {
		size += 3 + len(cert.Raw)
	}
	return size
}

// ClientOptions says how [ClientConfig] makes the TLS configuration of a client.
type ClientOptions struct {
	// CAFile holds the CAs of servers and is read by [LoadPool].
	CAFile string
	// CertFile and KeyFile are read by [LoadKeyPair]. Both may be empty, for a client without a certificate.
	CertFile, KeyFile string
	// ServerName is the name that the server's certificate must have; empty is the host that is dialled.
	ServerName string
}

// ClientConfig gives a configuration for a client: TLS 1.3, trusting the CAs of CAFile and no others. The
// client presents its certificate to whatever server asks for one, also to a server that does not list its CA:
// so a wrong certificate is refused by name and not silently left out. The protocols (ALPN) are left to the HTTP
// transport. The errors are those of [LoadPool] and [LoadKeyPair].
func ClientConfig(opts ClientOptions) (*tls.Config, error) {
	pool, err := LoadPool(opts.CAFile)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: opts.ServerName}
	if opts.CertFile == "" && opts.KeyFile == "" {
		return config, nil
	}
	pair, err := LoadKeyPair(opts.CertFile, opts.KeyFile)
	if err != nil {
		return nil, err
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return config, nil
}

// LoadPool reads one or more certificates of CAs. A file that is damaged, or holds a certificate that is no
// CA's, is a *[FileError]; a missing one is [io/fs.ErrNotExist]; an empty path is [ErrNoTrustAnchors].
func LoadPool(path string) (*x509.CertPool, error) {
	authorities, err := loadCAs(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, cert := range authorities {
		pool.AddCert(cert)
	}
	return pool, nil
}

func loadCAs(path string) ([]*x509.Certificate, error) {
	if path == "" {
		return nil, fmt.Errorf("%w: name the file of the CA's certificate (ca.crt)", ErrNoTrustAnchors)
	}
	files, err := filesAt(path, ".crt", ".pem")
	if err != nil {
		return nil, err
	}
	var all []*x509.Certificate
	for _, file := range files {
		parsed, err := LoadCertificates(file)
		if err != nil {
			return nil, err
		}
		for _, cert := range parsed {
			if err := CheckCA(file, cert); err != nil {
				return nil, err
			}
		}
		all = append(all, parsed...)
	}
	return all, nil
}
