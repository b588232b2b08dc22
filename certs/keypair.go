package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// ErrHalfPair is a certificate without its key, or a key without its certificate.
var ErrHalfPair = errors.New("certs: a certificate and its key are needed together")

// LoadKeyPair reads a certificate, perhaps followed by intermediate ones, and its private key. The key file must be a
// plain file of mode 0600 or narrower. A file that is damaged, unsafe, or does not belong to the other is a
// *[FileError]; a missing one is [io/fs.ErrNotExist]; an empty path is [ErrHalfPair]. The dates are not looked at.
func LoadKeyPair(certFile, keyFile string) (tls.Certificate, error) {
	if certFile == "" || keyFile == "" {
		return tls.Certificate{}, fmt.Errorf("%w: name the file of each", ErrHalfPair)
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

// parsePair parses certificates, the first of which belongs to the key.
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
		return nil, nil, damaged(keyPath, "is not the key of %s; give the two that were made together", certPath)
	}
	return parsed, key, nil
}
