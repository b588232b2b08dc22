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
var ErrMinVersion = errors.New("certs: unsupported TLS version")

// ServerOptions configures [ServerConfig].
type ServerOptions struct {
	// CertFile and KeyFile are read by [LoadKeyPair].
	CertFile, KeyFile string
	// Certificate replaces these files if it is set.
	Certificate tls.Certificate
	// ClientCAs holds the CAs of clients. It must not be empty. The configuration owns it from then on.
	ClientCAs *x509.CertPool
	// MinVersion is the oldest accepted version: [tls.VersionTLS12] or [tls.VersionTLS13]. 0 means 1.3.
	MinVersion uint16
}

// ServerConfig returns the TLS configuration of a server: TLS 1.3 or from MinVersion, HTTP/2 and HTTP/1.1, with the
// cipher suites and key exchanges of Go. Renegotiation is disabled.
//
// A client certificate must verify, else the handshake fails. A missing one does not fail the handshake
// (VerifyClientCertIfGiven), so that the server can answer 401 with a reason instead of an alert. Every handler must
// therefore take the identity from [Identifier.Identify], which rejects an empty chain. The handshake also rejects a
// chain that is too large for a session: see [CheckSize]. The errors are those of [LoadKeyPair], [ErrNoTrustAnchors]
// and [ErrMinVersion].
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

// ErrTooLarge is wrapped for a chain of certificates that no TLS session can hold.
var ErrTooLarge = errors.New("certs: the certificates are too large")

// maxSession bounds the certificates in a session, in bytes. A ticket has at most 65,535 bytes. So has the first
// message of the client, which returns the ticket with a key share and more.
const maxSession = 60 << 10

// CheckSize rejects certificates, with their verified chains, that no session can hold. Without it, crypto/tls would
// end the connection without a reason when the client asks for a session. The error is [ErrTooLarge].
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

// sizeOf returns the size of certificates in a session, in bytes.
func sizeOf(chain []*x509.Certificate) int {
	size := 0
	for _, cert := range chain {
		size += 3 + len(cert.Raw)
	}
	return size
}

// ClientOptions configures [ClientConfig].
type ClientOptions struct {
	// CAFile has the CAs of servers. [LoadPool] reads it.
	CAFile string
	// CertFile and KeyFile are read by [LoadKeyPair]. Both may be empty, for a client without a certificate.
	CertFile, KeyFile string
	// ServerName is the name that the server certificate must have. If it is empty, it is the dialed host.
	ServerName string
}

// ClientConfig returns the TLS configuration of a client: TLS 1.3, and only the CAs of CAFile. The client presents its
// certificate to every server that asks for one, also to a server that does not list its CA. So the server rejects a
// wrong certificate by name, and the client does not silently omit it. The HTTP transport sets the protocols (ALPN).
// The errors are those of [LoadPool] and [LoadKeyPair].
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

// LoadPool reads one or more CA certificates. A damaged file, or a certificate that is not a CA's, is a *[FileError]. A
// missing file is [io/fs.ErrNotExist]. An empty path is [ErrNoTrustAnchors].
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
