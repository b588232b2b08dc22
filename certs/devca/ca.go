package devca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/atomicfile"
)

// The files of a CA, in its folder. An intermediate CA keeps the certificates of its issuers in ChainFile, the nearest
// first, so that a server which trusts CertFile trusts that CA only.
const (
	CertFile  = "ca.crt"
	KeyFile   = "ca.key"
	ChainFile = "ca-chain.crt"
)

// DefaultLifetime is how long a new CA is valid by default.
const DefaultLifetime = 365 * 24 * time.Hour

var (
	// ErrLifetime is wrapped for an invalid lifetime: less than a second, too long, or longer than the CA's own.
	ErrLifetime = errors.New("devca: invalid lifetime")
	// ErrName is wrapped for a name that is malformed or missing, or for too many names.
	ErrName = errors.New("devca: name cannot be certified")
)

// CA is a development CA: a certificate, self-signed or issued by another CA, and its key. It is immutable and safe for
// concurrent use.
type CA struct {
	cert    *x509.Certificate
	key     crypto.Signer
	issuers []*x509.Certificate // of an intermediate CA, the nearest first
}

// Options says how [Init] makes a CA. The zero value is usable.
type Options struct {
	// Name is the common name of the CA; empty is "interlock development CA".
	Name string
	// Lifetime is how long the CA is valid, in whole seconds; 0 is [DefaultLifetime].
	Lifetime time.Duration
	// Now is the clock; nil is [time.Now]. It dates the CA's own certificate only.
	Now func() time.Time
	// Force overwrites an existing CA. The certificates that it issued no longer verify.
	Force bool
	// Issuer is the CA that certifies the new one, as an intermediate CA that certifies no further CA. Nil makes a
	// self-signed one.
	Issuer *CA
}

// Init makes a CA with a new ECDSA P-256 key. It writes [KeyFile] (mode 0600) and [CertFile] into dir, which it makes
// (mode 0700) if it does not exist. Without Force an existing file is an *[atomicfile.ExistsError] and nothing is
// overwritten. Other errors that the caller can fix are [ErrLifetime] and, for an issuer that may not certify a CA,
// [ErrName].
func Init(dir string, opts Options) (*CA, error) {
	template, err := caTemplate(opts)
	if err != nil {
		return nil, err
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	var pair KeyPair
	if opts.Issuer == nil {
		pair, err = sign(template, template, key, key)
	} else {
		pair, err = opts.Issuer.certifyCA(template, key)
	}
	if err != nil {
		return nil, err
	}
	files := pair.files(filepath.Join(dir, CertFile), filepath.Join(dir, KeyFile))
	if opts.Issuer != nil {
		files = append(files, opts.Issuer.chainFile(dir))
	}
	if err := writeFiles(dir, opts.Force, files...); err != nil {
		return nil, err
	}
	if opts.Force && opts.Issuer == nil {
		if err := removeChain(dir); err != nil {
			return nil, err
		}
	}
	return Load(dir)
}

// chainFile holds the certificates of an intermediate CA's issuers, the receiver first.
func (ca *CA) chainFile(dir string) atomicfile.File {
	var text []byte
	for _, cert := range ca.chain() {
		text = append(text, encodeCertificate(cert)...)
	}
	return atomicfile.File{Path: filepath.Join(dir, ChainFile), Data: text, Mode: modeCert}
}

// removeChain removes the file of an earlier intermediate CA, which a self-signed one has replaced.
func removeChain(dir string) error {
	if err := os.Remove(filepath.Join(dir, ChainFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("devca: %w", err)
	}
	return nil
}

// certifyCA signs an intermediate CA.
func (ca *CA) certifyCA(template *x509.Certificate, key *ecdsa.PrivateKey) (KeyPair, error) {
	if ca.cert.MaxPathLen == 0 {
		return KeyPair{}, fmt.Errorf("%w: the CA %.120q cannot certify other CAs; use its issuer", ErrName, ca.cert.Subject.String())
	}
	if err := ca.checkEnd(template); err != nil {
		return KeyPair{}, err
	}
	template.MaxPathLen, template.MaxPathLenZero = 0, true
	return sign(template, ca.cert, key, ca.key)
}

// Load opens the CA that [Init] made in dir. A file that is damaged, or does not belong to the other, is a
// *[certs.FileError], and so is a key file that others can read ([certs.ErrPermissions]); a missing one is
// [io/fs.ErrNotExist].
func Load(dir string) (*CA, error) {
	certPath := filepath.Join(dir, CertFile)
	pair, err := certs.LoadKeyPair(certPath, filepath.Join(dir, KeyFile))
	if err != nil {
		return nil, err
	}
	if n := len(pair.Certificate); n != 1 {
		return nil, damaged(certPath, "has %d certificates; keep only the CA's own certificate in it, and those of its issuers in %s", n, ChainFile)
	}
	if err := certs.CheckCA(certPath, pair.Leaf); err != nil {
		return nil, err
	}
	ca := &CA{cert: pair.Leaf, key: pair.PrivateKey.(crypto.Signer)}
	chainPath := filepath.Join(dir, ChainFile)
	ca.issuers, err = certs.LoadCertificates(chainPath)
	if errors.Is(err, fs.ErrNotExist) {
		return ca, nil
	}
	if err != nil {
		return nil, err
	}
	return ca, ca.checkIssuers(chainPath)
}

// checkIssuers requires that each issuer has signed the certificate before it.
func (ca *CA) checkIssuers(path string) error {
	issued := ca.cert
	for i, cert := range ca.issuers {
		if err := certs.CheckCA(path, cert); err != nil {
			return err
		}
		if isSelfSigned(issued) || issued.CheckSignatureFrom(cert) != nil {
			return damaged(path, "certificate %d has not signed the one before it; list the CA's issuers, the nearest first", i+1)
		}
		issued = cert
	}
	return nil
}

func damaged(path, format string, args ...any) error {
	return &certs.FileError{Path: path, Detail: fmt.Sprintf(format, args...), Err: certs.ErrDamaged}
}

// Certificate returns the CA's own certificate, which the caller only reads.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// Pool returns a new pool with only this CA.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// chain returns the CA's certificate and those of its issuers.
func (ca *CA) chain() []*x509.Certificate {
	return append([]*x509.Certificate{ca.cert}, ca.issuers...)
}

// intermediates returns the certificates between a leaf and the topmost CA, the CA's own first.
func (ca *CA) intermediates() []*x509.Certificate {
	chain := ca.chain()
	if isSelfSigned(chain[len(chain)-1]) {
		chain = chain[:len(chain)-1]
	}
	return chain
}

func isSelfSigned(cert *x509.Certificate) bool {
	return bytes.Equal(cert.RawIssuer, cert.RawSubject) &&
		cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
}
