package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"slices"
	"strings"
	"time"
)

// ErrCRL is the cause, in a *[FileError], of a readable CRL that is rejected for its signer, scope, number or age.
var ErrCRL = errors.New("certs: CRL not usable")

// maxCRLSize bounds a file of CRLs, in bytes: some million entries.
const maxCRLSize = 256 << 20

// serialNumber is a serial number, right-aligned: at most 20 bytes, as RFC 5280 has it.
type serialNumber [20]byte

// crl is one CA's CRL.
type crl struct {
	issuer     string // of its certificate's subject, for people
	signer     *x509.Certificate
	above      []*x509.Certificate // between the signer and a CA
	number     *big.Int
	nextUpdate time.Time
	sum        [sha256.Size]byte
	revoked    map[serialNumber]struct{}
	stale      bool // and so its CA's certificates are refused, all of them
	dormant    bool // its CA is not a trust anchor at the moment
}

// CRLs are certificate revocation lists (RFC 5280, section 5), at most one for each CA. They are immutable and safe for
// concurrent use. A lookup costs one access to a hash table, whatever the length of the CRL.
type CRLs struct {
	of map[[sha256.Size]byte]*crl
}

// LoadCRLs reads files with complete CRLs of the CAs, in DER or in PEM, and verifies them. A path may be a folder of such
// files, whose names end in .crl or .pem. The CRL of an intermediate CA is in PEM, in one file with the certificates of that
// CA and of its issuers, up to one of the trust anchors.
//
// The CRLs replace earlier ones, nil for none. A CA's CRL never un-revokes by accident: its number does not fall, and with
// the same number it revokes what it has revoked. A CA that had a CRL must keep one. The CRL of a CA that is under no trust
// anchor now is kept, for the case that the CA returns.
//
// Errors are *[FileError]: [ErrDamaged], or [ErrCRL] for a CRL that no known CA has signed, that covers a part only (delta
// CRLs, distribution points), is not valid yet, has no number or next update, or is older than the earlier one.
func LoadCRLs(a *TrustAnchors, earlier *CRLs, paths ...string) (*CRLs, error) {
	if earlier == nil {
		earlier = &CRLs{}
	}
	l := &CRLs{of: map[[sha256.Size]byte]*crl{}}
	for _, path := range paths {
		files, err := filesAt(path, ".crl", ".pem")
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if err := l.read(file, a, earlier); err != nil {
				return nil, err
			}
		}
	}
	for key, old := range earlier.of {
		now := l.of[key]
		if now == nil {
			if a.trusts(old.signer, old.above) {
				return nil, fmt.Errorf("%w: no file holds the CRL of %.120q any more; what it revoked would be good again", ErrCRL, old.issuer)
			}
			kept := *old
			kept.dormant = true
			l.of[key] = &kept
			continue
		}
		if err := now.follows(old); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// follows refuses a list that takes something back.
func (now *crl) follows(old *crl) error {
	switch now.number.Cmp(old.number) {
	case -1:
		return fmt.Errorf("%w: the CRL of %.120q has number %v, and the one before had %v", ErrCRL, old.issuer, now.number, old.number)
	case 0:
		if now.sum == old.sum {
			return nil
		}
		for serial := range old.revoked {
			if _, revoked := now.revoked[serial]; !revoked {
				return fmt.Errorf("%w: the CRL of %.120q has number %v as the one before, and revokes less; give it the next number", ErrCRL, old.issuer, now.number)
			}
		}
	}
	return nil
}

func (l *CRLs) read(path string, a *TrustAnchors, before *CRLs) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > maxCRLSize {
		return damaged(path, "has %d bytes; a file of CRLs has at most %d", info.Size(), maxCRLSize)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	ders, extra, err := crlBlocks(path, text)
	if err != nil {
		return err
	}
	known := before.signers()
	for i, cert := range extra {
		if err := CheckCA(path, cert); err != nil {
			return err
		}
		if !a.trusts(cert, extra) && !slices.ContainsFunc(known, cert.Equal) {
			return &FileError{Path: path, Err: ErrCRL, Detail: fmt.Sprintf(
				"certificate %d, of %.120q, is not under a CA of clients, and so its CRL cannot be verified", i+1, cert.Subject.String())}
		}
	}
	for _, der := range ders {
		if l.again(before, der, a, extra) {
			continue
		}
		if err := l.add(path, der, a, extra, known); err != nil {
			return err
		}
	}
	return nil
}

// crlBlocks splits a file into CRLs and extra certificates. It accepts PEM with nothing else, or one CRL in DER.
func crlBlocks(path string, text []byte) (ders [][]byte, extra []*x509.Certificate, err error) {
	if len(text) > 0 && text[0] == 0x30 {
		return [][]byte{text}, nil, nil
	}
	blocks, err := decodeBlocks(path, text)
	if err != nil {
		return nil, nil, err
	}
	for _, b := range blocks {
		switch b.Type {
		case blockCRL:
			ders = append(ders, b.Bytes)
		case blockCertificate:
			cert, err := x509.ParseCertificate(b.Bytes)
			if err != nil {
				return nil, nil, damaged(path, "holds a damaged certificate (%v); copy it again", err)
			}
			extra = append(extra, cert)
		default:
			return nil, nil, damaged(path, "holds a %.40q; a CRL is a %q", b.Type, blockCRL)
		}
	}
	if len(ders) == 0 {
		return nil, nil, damaged(path, "holds certificates alone; a CRL is a %q", blockCRL)
	}
	return ders, extra, nil
}

const blockCRL = "X509 CRL"

// again keeps a CRL that is byte for byte the one in use, as it was parsed then, because all files are loaded again
// when one changes.
func (l *CRLs) again(before *CRLs, der []byte, a *TrustAnchors, extra []*x509.Certificate) bool {
	sum := sha256.Sum256(der)
	for key, old := range before.of {
		if old.sum == sum && !old.dormant && l.of[key] == nil && a.trusts(old.signer, extra) {
			kept := *old
			kept.above, kept.stale = extra, false
			l.of[key] = &kept
			return true
		}
	}
	return false
}

func (l *CRLs) add(path string, der []byte, a *TrustAnchors, extra, known []*x509.Certificate) error {
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return damaged(path, "holds no readable CRL: %v", err)
	}
	unusable := func(format string, args ...any) error {
		return &FileError{Path: path, Detail: fmt.Sprintf(format, args...), Err: ErrCRL}
	}
	signer := signerOf(parsed, slices.Concat(a.all, extra, known))
	switch {
	case signer == nil:
		return unusable("the CRL of %.120q is not signed by a CA of clients; give the CRL of one of them", parsed.Issuer.String())
	case parsed.Number == nil:
		return unusable("the CRL of %.120q has no number; have one issued with a CRL number", parsed.Issuer.String())
	case parsed.NextUpdate.IsZero():
		return unusable("the CRL of %.120q has no next update; have one issued with it", parsed.Issuer.String())
	case parsed.ThisUpdate.After(time.Now().Add(time.Minute)):
		return unusable("the CRL of %.120q is of %s, which is in the future", parsed.Issuer.String(), parsed.ThisUpdate.UTC().Format(time.RFC3339))
	}
	if detail := partial(parsed); detail != "" {
		return unusable("the CRL of %.120q %s; give a complete one", parsed.Issuer.String(), detail)
	}
	key := sha256.Sum256(signer.RawSubjectPublicKeyInfo)
	if l.of[key] != nil {
		return unusable("there are two CRLs of %.120q; give one for each CA", parsed.Issuer.String())
	}
	one := &crl{issuer: parsed.Issuer.String(), signer: signer, above: extra, number: parsed.Number, nextUpdate: parsed.NextUpdate,
		sum: sha256.Sum256(der), dormant: !a.trusts(signer, extra), revoked: make(map[serialNumber]struct{}, len(parsed.RevokedCertificateEntries))}
	for _, e := range parsed.RevokedCertificateEntries {
		serial, ok := serialOf(e.SerialNumber.Bytes())
		if !ok || e.SerialNumber.Sign() < 0 {
			return unusable("the CRL of %.120q has a serial number that no certificate can have", parsed.Issuer.String())
		}
		one.revoked[serial] = struct{}{}
	}
	l.of[key] = one
	return nil
}

// Trusts reports whether a certificate is that of one of the CAs, or is under one of them; dates and names are
// not looked at.
func (a *TrustAnchors) Trusts(cert *x509.Certificate) bool { return a.trusts(cert, nil) }

// trusts is Trusts with extra certificates.
func (a *TrustAnchors) trusts(cert *x509.Certificate, extra []*x509.Certificate) bool {
	return a.leadsTo(cert, extra, len(extra)+1)
}

func (a *TrustAnchors) leadsTo(cert *x509.Certificate, extra []*x509.Certificate, steps int) bool {
	if a.lists(cert) {
		return true
	}
	signs := func(issuer *x509.Certificate) bool {
		return bytes.Equal(issuer.RawSubject, cert.RawIssuer) && cert.CheckSignatureFrom(issuer) == nil
	}
	if slices.ContainsFunc(a.all, signs) {
		return true
	}
	return steps > 0 && slices.ContainsFunc(extra, func(issuer *x509.Certificate) bool {
		return !issuer.Equal(cert) && signs(issuer) && a.leadsTo(issuer, extra, steps-1)
	})
}

// signers are those of the CRLs.
func (l *CRLs) signers() []*x509.Certificate {
	var all []*x509.Certificate
	for _, of := range l.of {
		all = append(all, of.signer)
	}
	return all
}

// signerOf finds the CA that has signed a list.
func signerOf(parsed *x509.RevocationList, among []*x509.Certificate) *x509.Certificate {
	for _, cert := range among {
		if bytes.Equal(cert.RawSubject, parsed.RawIssuer) && parsed.CheckSignatureFrom(cert) == nil {
			return cert
		}
	}
	return nil
}

// Extensions of CRLs (RFC 5280, section 5.2).
var (
	oidCRLNumber    = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidAuthorityKey = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidDelta        = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidDistribution = asn1.ObjectIdentifier{2, 5, 29, 28}
)

// partial says why a list is not a complete one, empty if it is.
func partial(parsed *x509.RevocationList) string {
	for _, e := range parsed.Extensions {
		switch {
		case e.Id.Equal(oidDelta):
			return "is a delta, which says only what has changed"
		case e.Id.Equal(oidDistribution):
			return "is of a distribution point, which may leave certificates out"
		case e.Critical && !e.Id.Equal(oidCRLNumber) && !e.Id.Equal(oidAuthorityKey):
			return fmt.Sprintf("has a critical extension %v that is unknown here", e.Id)
		}
	}
	return ""
}

// serialOf makes a serial number of its bytes.
func serialOf(digits []byte) (n serialNumber, ok bool) {
	digits = bytes.TrimLeft(digits, "\x00")
	if len(digits) > len(n) {
		return n, false
	}
	copy(n[len(n)-len(digits):], digits)
	return n, true
}

// Revoked reports whether a certificate is revoked. serial is in hexadecimal; issuer is the SHA-256 of the CA's public key
// in hexadecimal. Text that cannot be parsed counts as revoked.
func (l *CRLs) Revoked(issuer, serial string) bool {
	var key [sha256.Size]byte
	if n, err := hex.Decode(key[:], []byte(issuer)); err != nil || n != len(key) {
		return true
	}
	of := l.of[key]
	switch {
	case of == nil:
		return false
	case of.stale:
		return true
	}
	if len(serial)%2 == 1 {
		serial = "0" + serial
	}
	digits, err := hex.DecodeString(serial)
	if err != nil {
		return true
	}
	n, ok := serialOf(digits)
	if !ok {
		return true
	}
	_, revoked := of.revoked[n]
	return revoked
}

// At returns the CRLs as they are at a moment. A CRL whose next update has passed is stale and may miss revocations, so it
// revokes all certificates of its CA. stale names these CAs.
func (l *CRLs) At(now time.Time) (at *CRLs, stale []string) {
	at = &CRLs{of: maps.Clone(l.of)}
	for key, of := range at.of {
		if of.dormant || now.Before(of.nextUpdate) {
			continue
		}
		old := *of
		old.stale = true
		at.of[key] = &old
		stale = append(stale, of.issuer)
	}
	slices.Sort(stale)
	return at, stale
}

// Issuers returns the SHA-256 of the public key of each CA that has a CRL and is under a trust anchor, in hexadecimal.
func (l *CRLs) Issuers() []string {
	issuers := make([]string, 0, len(l.of))
	for key, of := range l.of {
		if !of.dormant {
			issuers = append(issuers, hex.EncodeToString(key[:]))
		}
	}
	slices.Sort(issuers)
	return issuers
}

// Sum tells one set of CRLs from another.
func (l *CRLs) Sum() [sha256.Size]byte {
	var lines []string
	for key, of := range l.of {
		lines = append(lines, fmt.Sprintf("%x %x %v", key, of.sum, of.dormant))
	}
	slices.Sort(lines)
	return sha256.Sum256([]byte(strings.Join(lines, "\n")))
}

// NextUpdate returns the earliest moment after another one at which a CRL becomes stale, the zero time if there is none.
func (l *CRLs) NextUpdate(after time.Time) time.Time {
	var next time.Time
	for _, of := range l.of {
		if !of.dormant && of.nextUpdate.After(after) && (next.IsZero() || of.nextUpdate.Before(next)) {
			next = of.nextUpdate
		}
	}
	return next
}

// Len returns how many certificates the CRLs revoke.
func (l *CRLs) Len() int {
	n := 0
	for _, of := range l.of {
		n += len(of.revoked)
	}
	return n
}
