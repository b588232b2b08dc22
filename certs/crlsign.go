package certs

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// SignList signs a list of what an authority has revoked, in PEM, with that number, until
// the next one comes. An intermediate authority's certificate follows its list. The serial numbers are those of certificates of its own.
func (a *Authority) SignList(number *big.Int, serials []*big.Int, thisUpdate, nextUpdate time.Time) ([]byte, error) {
	template := &x509.RevocationList{Number: number, ThisUpdate: thisUpdate, NextUpdate: nextUpdate}
	for _, serial := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: thisUpdate})
	}
	der, err := x509.CreateRevocationList(nil, template, a.cert, a.key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: pemList, Bytes: der})
	for _, cert := range a.intermediates() {
		text = append(text, encodeCertificate(cert.Raw)...)
	}
	return text, nil
}

// Revoke signs a list that revokes all that an earlier one does, and leaves of the authority's
// own besides. before is the earlier list as SignList or Revoke has written it, empty for
// none; the new one has the next number and stands for a lifetime. [ErrList] is wrapped if
// before is not the authority's, or a leaf is none of its own.
func (a *Authority) Revoke(before []byte, lifetime time.Duration, leaves ...*x509.Certificate) ([]byte, error) {
	number, serials, err := a.readOwn(before)
	if err != nil {
		return nil, err
	}
	for _, leaf := range leaves {
		if leaf.CheckSignatureFrom(a.cert) != nil {
			return nil, fmt.Errorf("%w: the certificate %.120q is none of this authority's", ErrList, leaf.Subject.String())
		}
		if !slices.ContainsFunc(serials, func(n *big.Int) bool { return n.Cmp(leaf.SerialNumber) == 0 }) {
			serials = append(serials, leaf.SerialNumber)
		}
	}
	now := time.Now().UTC().Truncate(time.Second)
	return a.SignList(number.Add(number, big.NewInt(1)), serials, now, now.Add(lifetime))
}

func (a *Authority) readOwn(text []byte) (number *big.Int, serials []*big.Int, err error) {
	if len(text) == 0 {
		return new(big.Int), nil, nil
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, nil, fmt.Errorf("%w: the list before is no PEM", ErrList)
	}
	parsed, err := x509.ParseRevocationList(block.Bytes)
	if err == nil {
		err = parsed.CheckSignatureFrom(a.cert)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: the list before is none of this authority's: %w", ErrList, err)
	}
	for _, e := range parsed.RevokedCertificateEntries {
		serials = append(serials, e.SerialNumber)
	}
	return parsed.Number, serials, nil
}
