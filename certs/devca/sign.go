package devca

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// organization is in the subject of every certificate; it identifies no caller.
const organization = "interlock development"

// caTemplate begins the certificate of a CA.
func caTemplate(opts Options) (*x509.Certificate, error) {
	template, err := newTemplate(opts.Now, cmp.Or(opts.Lifetime, DefaultLifetime))
	if err != nil {
		return nil, err
	}
	template.Subject.CommonName = cmp.Or(opts.Name, organization+" CA")
	template.IsCA = true
	template.MaxPathLen = 1
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return template, nil
}

// newTemplate begins a certificate that is valid from now on, with a random serial number of 128 bits.
func newTemplate(now func() time.Time, lifetime time.Duration) (*x509.Certificate, error) {
	if lifetime < time.Second {
		return nil, fmt.Errorf("%w: %v is less than a second; ask for a longer one", ErrLifetime, lifetime)
	}
	if now == nil {
		now = time.Now
	}
	var serial [16]byte
	rand.Read(serial[:]) // never fails, by its contract
	start := now().UTC().Truncate(time.Second)
	return &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial[:]),
		Subject:               pkix.Name{Organization: []string{organization}},
		NotBefore:             start,
		NotAfter:              start.Add(lifetime.Truncate(time.Second)),
		BasicConstraintsValid: true,
	}, nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("devca: make key: %w", err)
	}
	return key, nil
}

// sign certifies key by the template, as the issuer with that signer.
func sign(template, issuer *x509.Certificate, key *ecdsa.PrivateKey, signer crypto.Signer) (KeyPair, error) {
	id, err := keyID(&key.PublicKey)
	if err != nil {
		return KeyPair{}, err
	}
	template.SubjectKeyId = id
	template.AuthorityKeyId = issuer.SubjectKeyId
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		return KeyPair{}, fmt.Errorf("devca: sign certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return KeyPair{}, fmt.Errorf("devca: encode key: %w", err)
	}
	return KeyPair{
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

// keyID identifies a key: the first 160 bits of the SHA-256 of its SubjectPublicKeyInfo.
func keyID(key *ecdsa.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("devca: key ID: %w", err)
	}
	sum := sha256.Sum256(der)
	return sum[:20], nil
}

func encodeCertificate(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}
