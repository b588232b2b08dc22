package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// ErrHalfPair is wrapped for a certificate without its key, or a key without its certificate.
var ErrHalfPair = errors.New("certs: a certificate and its key are needed together")

// LoadKeyPair reads a certificate, perhaps followed by intermediates, and its private key. The key file must be a
// regular file with mode 0600 or narrower. A damaged, unsafe or mismatched file is a *[FileError], a missing one
// [io/fs.ErrNotExist], an empty path [ErrHalfPair]. It does not check dates.
func LoadKeyPair(certFile, keyFile string) (tls.Certificate, error) {
	if certFile == "" || keyFile == "" {
		return tls.Certificate{}, fmt.Errorf("%w: set the paths of both files", ErrHalfPair)
	}
	certPEM, err := readFile(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM, err := readKeyFile(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	parsed, key, err := parsePair(certFile, certPEM, keyFile, keyPEM)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair := tls.Certificate{PrivateKey: key, Leaf: parsed[0]}
	for _, cert := range parsed {
		pair.Certificate = append(pair.Certificate, cert.Raw)
	}
	return pair, nil
}

// parsePair parses certificates and the key of the first one.
func parsePair(
	certPath string, certPEM []byte, keyPath string, keyPEM []byte,
) ([]*x509.Certificate, crypto.Signer, error) {
	parsed, err := ParseCertificates(certPath, certPEM)
	if err != nil {
		return nil, nil, err
	}
	key, err := ParseKey(keyPath, keyPEM)
	if err != nil {
		return nil, nil, err
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(parsed[0].PublicKey) {
		return nil, nil, damaged(keyPath, "is not the key of %s; use the key that belongs to the certificate", certPath)
	}
	return parsed, key, nil
}
