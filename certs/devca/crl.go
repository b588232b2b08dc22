package devca

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/interlock-authz/interlock/certs"
)

// SignCRL signs a CRL, in PEM, that revokes those serial numbers and is valid from thisUpdate to nextUpdate. The
// certificate of an intermediate CA follows its CRL.
func (ca *CA) SignCRL(number *big.Int, serials []*big.Int, thisUpdate, nextUpdate time.Time) ([]byte, error) {
	template := &x509.RevocationList{Number: number, ThisUpdate: thisUpdate, NextUpdate: nextUpdate}
	for _, serial := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: thisUpdate})
	}
	der, err := x509.CreateRevocationList(nil, template, ca.cert, ca.key)
	if err != nil {
		return nil, fmt.Errorf("devca: sign CRL: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	for _, cert := range ca.intermediates() {
		text = append(text, encodeCertificate(cert)...)
	}
	return text, nil
}

// Revoke signs a CRL that revokes what an earlier one revokes, and the leaves, which must be the CA's own. The earlier CRL
// is one that SignCRL or Revoke wrote, or empty for none. The new one has the next number and is valid for the lifetime.
// The error is [certs.ErrCRL] if another CA signed the earlier CRL or issued a leaf.
func (ca *CA) Revoke(earlier []byte, lifetime time.Duration, leaves ...*x509.Certificate) ([]byte, error) {
	number, serials, err := ca.readCRL(earlier)
	if err != nil {
		return nil, err
	}
	for _, leaf := range leaves {
		if leaf.CheckSignatureFrom(ca.cert) != nil {
			return nil, fmt.Errorf("%w: this CA has not issued the certificate %.120q", certs.ErrCRL, leaf.Subject.String())
		}
		if !slices.ContainsFunc(serials, func(n *big.Int) bool { return n.Cmp(leaf.SerialNumber) == 0 }) {
			serials = append(serials, leaf.SerialNumber)
		}
	}
	now := time.Now().UTC().Truncate(time.Second)
	return ca.SignCRL(number.Add(number, big.NewInt(1)), serials, now, now.Add(lifetime))
}

// readCRL returns the number and the serial numbers of a CRL that this CA signed.
func (ca *CA) readCRL(text []byte) (number *big.Int, serials []*big.Int, err error) {
	if len(text) == 0 {
		return new(big.Int), nil, nil
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, nil, fmt.Errorf("%w: the earlier CRL is not PEM", certs.ErrCRL)
	}
	parsed, err := x509.ParseRevocationList(block.Bytes)
	if err == nil {
		err = parsed.CheckSignatureFrom(ca.cert)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: this CA has not signed the earlier CRL: %w", certs.ErrCRL, err)
	}
	for _, e := range parsed.RevokedCertificateEntries {
		serials = append(serials, e.SerialNumber)
	}
	return parsed.Number, serials, nil
}
