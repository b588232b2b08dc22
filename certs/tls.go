package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// ErrNoAuthorities is a configuration that would trust nobody or, worse, every authority that the system trusts.
var ErrNoAuthorities = errors.New("certs: no authorities to trust")

// ServerOptions says how [ServerConfig] makes the TLS configuration of a server.
type ServerOptions struct {
	// CertFile and KeyFile are read by [LoadKeyPair].
	CertFile, KeyFile string
	// ClientCAs holds the authorities of clients. It must not be empty, and belongs to the configuration from now on.
	ClientCAs *x509.CertPool
}

// ServerConfig gives a configuration for a server: TLS 1.3, HTTP/2 and HTTP/1.1.
//
// A client certificate that is given must verify, else the handshake fails. One that is not given does not
// fail the handshake (VerifyClientCertIfGiven), so that the server can answer 401 in words instead of an alert: every
// handler must therefore take the identity from [Identifier.Identify], which refuses an empty chain. The errors are
// those of [LoadKeyPair] and [ErrNoAuthorities].
func ServerConfig(opts ServerOptions) (*tls.Config, error) {
	if opts.ClientCAs == nil || opts.ClientCAs.Equal(x509.NewCertPool()) {
		return nil, fmt.Errorf("%w: give at least one authority of clients", ErrNoAuthorities)
	}
	pair, err := LoadKeyPair(opts.CertFile, opts.KeyFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.VerifyClientCertIfGiven,
		ClientCAs:    opts.ClientCAs,
		NextProtos:   []string{"h2", "http/1.1"},
	}, nil
}

// ClientOptions says how [ClientConfig] makes the TLS configuration of a client.
type ClientOptions struct {
	// CAFile holds the authorities of servers and is read by [LoadPool].
	CAFile string
	// CertFile and KeyFile are read by [LoadKeyPair]. Both may be empty, for a client without a certificate.
	CertFile, KeyFile string
	// ServerName is the name that the server's certificate must have; empty is the host that is dialled.
	ServerName string
}

// ClientConfig gives a configuration for a client: TLS 1.3, trusting the authorities of CAFile and no others. The
// client presents its certificate to whatever server asks for one, also to a server that does not list its authority:
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

// LoadPool reads one or more certificates of authorities. A file that is damaged, or holds a certificate that is no
// authority's, is a *[FileError]; a missing one is [io/fs.ErrNotExist]; an empty path is [ErrNoAuthorities].
func LoadPool(path string) (*x509.CertPool, error) {
	authorities, err := loadAuthorities(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, cert := range authorities {
		pool.AddCert(cert)
	}
	return pool, nil
}

func loadAuthorities(path string) ([]*x509.Certificate, error) {
	if path == "" {
		return nil, fmt.Errorf("%w: name the file of the authority's certificate (ca.crt)", ErrNoAuthorities)
	}
	data, err := readCertFile(path)
	if err != nil {
		return nil, err
	}
	parsed, err := ParseCertificates(path, data)
	if err != nil {
		return nil, err
	}
	for _, cert := range parsed {
		if err := checkAuthority(path, cert); err != nil {
			return nil, err
		}
	}
	return parsed, nil
}
