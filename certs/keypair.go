package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

var (
	// ErrFileName is a name for a pair of files that is empty, hidden or reaches into another folder.
	ErrFileName = errors.New("certs: not a name for files")
	// ErrHalfPair is a certificate without its key, or a key without its certificate.
	ErrHalfPair = errors.New("certs: a certificate and its key are needed together")
)

// KeyPair is a certificate and its private key, in PEM. It holds a secret: do not log it.
type KeyPair struct {
	// CertPEM is the certificate, and those of intermediate authorities after it.
	CertPEM []byte
	// KeyPEM is the key, in PKCS #8.
	KeyPEM []byte
}

// Write writes name.key (mode 0600) and then name.crt (mode 0644) into dir, which it makes (mode 0700) if it is not
// there. Each appears whole or not at all. Without force an existing file is an *[ExistsError] and nothing is
// written; with force it is replaced, a link by a file. [ErrFileName] refuses a name that is no plain file name.
func (p KeyPair) Write(dir, name string, force bool) error {
	if name == "" || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/\\\x00") {
		return fmt.Errorf("%w: %q; use letters, digits and -", ErrFileName, name)
	}
	return p.write(dir, filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"), force)
}

func (p KeyPair) write(dir, certPath, keyPath string, force bool) error {
	if err := makeFolder(dir); err != nil {
		return err
	}
	key := file{path: keyPath, data: p.KeyPEM, mode: modeKey}
	cert := file{path: certPath, data: p.CertPEM, mode: modeCert}
	return writePair(key, cert, force)
}

// LoadKeyPair reads a certificate, perhaps followed by intermediate ones, and its private key. The key file must be a
// plain file of mode 0600 or narrower. A file that is damaged, unsafe, or does not belong to the other is a
// *[FileError]; a missing one is [io/fs.ErrNotExist]; an empty path is [ErrHalfPair]. The dates are not looked at.
func LoadKeyPair(certFile, keyFile string) (tls.Certificate, error) {
	if certFile == "" || keyFile == "" {
		return tls.Certificate{}, fmt.Errorf("%w: name the file of each", ErrHalfPair)
	}
	certPEM, err := readCertFile(certFile)
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
