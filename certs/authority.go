package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// The files of an authority, in its folder. The certificates of the authorities that an intermediate one is under have a
// file of their own: whoever trusts the authority's own file trusts nobody else.
const (
	AuthorityCertFile  = "ca.crt"
	AuthorityKeyFile   = "ca.key"
	AuthorityAboveFile = "above.crt"
)

// DefaultAuthorityLifetime is how long a new authority stands unless it is told otherwise.
const DefaultAuthorityLifetime = 365 * 24 * time.Hour

// ErrLifetime is a lifetime that cannot be certified: less than a second, too long, or longer than the authority's
// own.
var ErrLifetime = errors.New("certs: lifetime not possible")

// organization is the subject of every certificate; nobody is identified by it.
const organization = "interlock development"

// Authority is a development authority: a certificate, self-signed or under another authority, and its key, with which
// it issues certificates. It is immutable and may be used by many goroutines.
type Authority struct {
	cert  *x509.Certificate
	key   crypto.Signer
	above []*x509.Certificate // the authorities that it is under, the nearest first
}

// AuthorityOptions says how [InitAuthority] makes an authority. The zero value is usable.
type AuthorityOptions struct {
	// Name is the common name of the authority; "interlock development authority" if it is empty.
	Name string
	// Lifetime is how long the authority stands, in whole seconds; 0 is [DefaultAuthorityLifetime].
	Lifetime time.Duration
	// Now is the clock; nil is [time.Now]. It dates the authority's own certificate only.
	Now func() time.Time
	// Force overwrites an authority that is there. What it issued is then worth nothing.
	Force bool
	// Under is the authority that certifies the new one, which is an intermediate authority then: nil for one that
	// stands for itself. An intermediate authority certifies no further one.
	Under *Authority
}

// InitAuthority makes an authority with a new ECDSA P-256 key and writes [AuthorityKeyFile] (mode 0600) and
// [AuthorityCertFile] into dir, which it makes (mode 0700) if it is not there. Without Force an existing file is an
// *[ExistsError] and nothing is written. [ErrLifetime] is the other error that a caller can mend.
func InitAuthority(dir string, opts AuthorityOptions) (*Authority, error) {
	template, err := authorityTemplate(opts)
	if err != nil {
		return nil, err
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	pair, err := sign(template, template, key, key)
	if opts.Under != nil {
		pair, err = opts.Under.certifyAuthority(template, key)
	}
	if err != nil {
		return nil, err
	}
	certPath, keyPath := authorityPaths(dir)
	if err := opts.Under.writeAbove(dir, opts.Force); err != nil {
		return nil, err
	}
	if err := pair.write(dir, certPath, keyPath, opts.Force); err != nil {
		return nil, err
	}
	return LoadAuthority(dir)
}

// writeAbove writes the authority's certificate, and those above it, for one that is under it. For none that there is, it
// takes the file of an earlier one away.
func (a *Authority) writeAbove(dir string, force bool) error {
	path := filepath.Join(dir, AuthorityAboveFile)
	if a == nil {
		if err := os.Remove(path); force && err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("certs: %w", err)
		}
		return nil
	}
	if err := makeFolder(dir); err != nil {
		return err
	}
	var text []byte
	for _, cert := range append([]*x509.Certificate{a.cert}, a.above...) {
		text = append(text, encodeCertificate(cert.Raw)...)
	}
	s, err := stage(file{path: path, data: text, mode: modeCert})
	if err != nil {
		return err
	}
	defer s.discard()
	return s.publish(force)
}

// certifyAuthority signs an intermediate authority.
func (a *Authority) certifyAuthority(template *x509.Certificate, key *ecdsa.PrivateKey) (KeyPair, error) {
	if a.cert.MaxPathLen == 0 {
		return KeyPair{}, fmt.Errorf("%w: the authority %.120q may certify no other authority; take the one that it is under", ErrSubject, a.cert.Subject.String())
	}
	if err := a.checkEnd(template); err != nil {
		return KeyPair{}, err
	}
	template.MaxPathLen, template.MaxPathLenZero = 0, true
	return sign(template, a.cert, key, a.key)
}

// LoadAuthority opens the authority that [InitAuthority] made in dir. A file that is damaged, unsafe, or does not
// belong to the other is a *[FileError]; a missing one is [io/fs.ErrNotExist].
func LoadAuthority(dir string) (*Authority, error) {
	certPath, keyPath := authorityPaths(dir)
	certPEM, err := readCertFile(certPath)
	if err != nil {
		return nil, err
	}
	keyPEM, err := readKeyFile(keyPath)
	if err != nil {
		return nil, err
	}
	abovePath := filepath.Join(dir, AuthorityAboveFile)
	above, err := readCertFile(abovePath)
	if errors.Is(err, fs.ErrNotExist) {
		return parseAuthority(certPath, certPEM, keyPath, keyPEM, abovePath, nil)
	}
	if err != nil {
		return nil, err
	}
	return parseAuthority(certPath, certPEM, keyPath, keyPEM, abovePath, above)
}

// Certificate gives the authority's own certificate, which the caller only reads.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Pool gives a new pool that holds the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func authorityPaths(dir string) (certPath, keyPath string) {
	return filepath.Join(dir, AuthorityCertFile), filepath.Join(dir, AuthorityKeyFile)
}

func parseAuthority(certPath string, certPEM []byte, keyPath string, keyPEM []byte, abovePath string, abovePEM []byte) (*Authority, error) {
	parsed, key, err := parsePair(certPath, certPEM, keyPath, keyPEM)
	if err != nil {
		return nil, err
	}
	if len(parsed) != 1 {
		return nil, damaged(certPath, "has %d certificates; an authority's file holds its own alone, and %s those above it", len(parsed), AuthorityAboveFile)
	}
	if err := checkAuthority(certPath, parsed[0]); err != nil {
		return nil, err
	}
	a := &Authority{cert: parsed[0], key: key}
	if abovePEM == nil {
		return a, nil
	}
	if a.above, err = ParseCertificates(abovePath, abovePEM); err != nil {
		return nil, err
	}
	below := a.cert
	for i, cert := range a.above {
		if err := checkAuthority(abovePath, cert); err != nil {
			return nil, err
		}
		if isSelfSigned(below) || below.CheckSignatureFrom(cert) != nil {
			return nil, damaged(abovePath, "certificate %d has not signed the one below it; give those that the authority is under, the nearest first", i+1)
		}
		below = cert
	}
	return a, nil
}

// intermediates gives what stands between a leaf and those who trust the topmost authority, the authority's own first.
func (a *Authority) intermediates() []*x509.Certificate {
	chain := append([]*x509.Certificate{a.cert}, a.above...)
	if isSelfSigned(chain[len(chain)-1]) {
		chain = chain[:len(chain)-1]
	}
	return chain
}

// checkAuthority refuses a certificate that may not sign others.
func checkAuthority(path string, cert *x509.Certificate) error {
	if mayCertify(cert) {
		return nil
	}
	return damaged(path, "holds the certificate %.120q, which is no authority's; give the authority's own (ca.crt)",
		cert.Subject.String())
}

func mayCertify(cert *x509.Certificate) bool {
	return cert.IsCA && (cert.KeyUsage == 0 || cert.KeyUsage&x509.KeyUsageCertSign != 0)
}

func authorityTemplate(opts AuthorityOptions) (*x509.Certificate, error) {
	if opts.Name == "" {
		opts.Name = organization + " authority"
	}
	if opts.Lifetime == 0 {
		opts.Lifetime = DefaultAuthorityLifetime
	}
	template, err := newTemplate(opts.Now, opts.Lifetime)
	if err != nil {
		return nil, err
	}
	template.Subject.CommonName = opts.Name
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
	rand.Read(serial[:]) // never fails, says its contract
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
		return nil, fmt.Errorf("certs: make key: %w", err)
	}
	return key, nil
}

// sign certifies key by the template, under the issuer whose signer is given.
func sign(template, issuer *x509.Certificate, key *ecdsa.PrivateKey, signer crypto.Signer) (KeyPair, error) {
	id, err := keyID(&key.PublicKey)
	if err != nil {
		return KeyPair{}, err
	}
	template.SubjectKeyId = id
	template.AuthorityKeyId = issuer.SubjectKeyId
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		return KeyPair{}, fmt.Errorf("certs: sign certificate: %w", err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return KeyPair{}, err
	}
	return KeyPair{CertPEM: encodeCertificate(der), KeyPEM: keyPEM}, nil
}

// keyID names a key for others to refer to: the first 160 bits of the SHA-256 of its SubjectPublicKeyInfo.
func keyID(key *ecdsa.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("certs: key id: %w", err)
	}
	sum := sha256.Sum256(der)
	return sum[:20], nil
}

// makeFolder makes the folder that keys are written to, for its owner only, if it is not there.
func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, modeFolder); err != nil {
		return fmt.Errorf("certs: %w", err)
	}
	return nil
}
