package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

const (
	blockCertificate = "CERTIFICATE"
	blockKey         = "PRIVATE KEY"
	blockECKey       = "EC PRIVATE KEY"
	blockRSAKey      = "RSA PRIVATE KEY"
)

// ParseCertificates parses one or more PEM certificates. It rejects text between blocks, damaged blocks and blocks of
// another kind. The path is only used in errors. Every error is a *[FileError] that wraps [ErrDamaged].
func ParseCertificates(path string, data []byte) ([]*x509.Certificate, error) {
	blocks, err := decodeBlocks(path, data)
	if err != nil {
		return nil, err
	}
	var parsed []*x509.Certificate
	for i, block := range blocks {
		if i == 0 && strings.HasSuffix(block.Type, blockKey) {
			return nil, damaged(path, "is a private key; pass the certificate's file instead, such as %s", strings.TrimSuffix(path, ".key")+".crt")
		}
		if block.Type != blockCertificate {
			return nil, damaged(path, "block %d is %.40q where only certificates belong; remove it", i+1, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, damaged(path, "certificate %d is damaged (%v); copy or issue it again", i+1, err)
		}
		parsed = append(parsed, cert)
	}
	return parsed, nil
}

// LoadCertificates reads a file for [ParseCertificates]. A missing file is [io/fs.ErrNotExist].
func LoadCertificates(path string) ([]*x509.Certificate, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return ParseCertificates(path, data)
}

// CheckCA rejects a certificate that may not sign others. The path is only named in errors. The error is a *[FileError]
// that is [ErrDamaged].
func CheckCA(path string, cert *x509.Certificate) error {
	if isCA(cert) {
		return nil
	}
	return damaged(path, "holds the certificate %.120q, which is not a CA's; give the CA's own (ca.crt)", cert.Subject.String())
}

func isCA(cert *x509.Certificate) bool {
	return cert.IsCA && (cert.KeyUsage == 0 || cert.KeyUsage&x509.KeyUsageCertSign != 0)
}

// ParseKey parses one PEM block of an unencrypted private key (PKCS #8, or the older forms of EC and RSA keys). It
// rejects anything else. The path is only used in errors. Every error is a *[FileError] that wraps [ErrDamaged], and
// contains nothing of the key.
func ParseKey(path string, data []byte) (crypto.Signer, error) {
	blocks, err := decodeBlocks(path, data)
	if err != nil {
		return nil, err
	}
	if len(blocks) != 1 {
		return nil, damaged(path, "has %d blocks instead of one private key; keep the key alone", len(blocks))
	}
	if !isOneValue(blocks[0].Bytes) {
		return nil, damaged(path, "the private key is cut off or followed by other bytes; copy or make it again")
	}
	key, err := parseKeyBlock(blocks[0])
	if err != nil {
		return nil, damaged(path, "is no usable private key (%v); expected is an EC, RSA or Ed25519 key", err)
	}
	return key, nil
}

var errBlockType = errors.New("a PEM block of another kind")

func parseKeyBlock(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case blockKey:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case blockECKey:
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case blockRSAKey:
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		err = errBlockType
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T, which cannot sign", key)
	}
	return signer, nil
}

// isOneValue reports whether der is one ASN.1 value without trailing bytes, which the key parsers ignore.
func isOneValue(der []byte) bool {
	var value asn1.RawValue
	rest, err := asn1.Unmarshal(der, &value)
	return err == nil && len(rest) == 0
}

// pemBegin starts every block. The PEM decoder skips what it cannot decode, so decodeBlocks checks that each decoded
// block is the next thing in the file.
var pemBegin = []byte("-----BEGIN")

func decodeBlocks(path string, data []byte) ([]*pem.Block, error) {
	var blocks []*pem.Block
	for rest := bytes.TrimSpace(data); len(rest) > 0; {
		if !bytes.HasPrefix(rest, pemBegin) {
			return nil, damaged(path, "has other text before or after its PEM blocks; remove it")
		}
		block, after := pem.Decode(rest)
		if block == nil || bytes.Count(rest[:len(rest)-len(after)], pemBegin) != 1 {
			return nil, damaged(path, "PEM block %d is damaged; copy or make the file again", len(blocks)+1)
		}
		if len(block.Headers) > 0 {
			return nil, damaged(path, "PEM block %d has headers, as an encrypted key has; store it without", len(blocks)+1)
		}
		blocks = append(blocks, block)
		rest = bytes.TrimSpace(after)
	}
	if len(blocks) == 0 {
		return nil, damaged(path, "is empty; copy or make the file again")
	}
	return blocks, nil
}
