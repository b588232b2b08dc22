package certs_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
)

// FuzzCertsIdentifyURI puts any text into the URI of a certificate: an identity is that text, and nothing else.
func FuzzCertsIdentifyURI(f *testing.F) {
	for _, seed := range []string{
		alice, "SPIFFE://example.org/alice", "spiffe://Example.org/a/", "spiffe://td/%61", "spiffe://td/../a",
		"spiffe://td/a#", "spiffe://td/a?", "spiffe://u@td/a", "spiffe:td", "https://example.org/", "urn:a:b", "",
	} {
		f.Add(seed)
	}
	id := identifier(f, certs.RuleURI)
	f.Fuzz(func(t *testing.T, text string) {
		chain, err := tryMint(uris(text))
		if err != nil {
			return
		}
		got, err := id.Identify(chain)
		if err != nil {
			require.ErrorIs(t, err, certs.ErrNoIdentity)
			require.Zero(t, got)
			return
		}
		require.Equal(t, text, bare(got))
		parsed, err := spiffeid.FromString(text)
		require.Equal(t, got.Rule == certs.RuleSPIFFE, err == nil && parsed.Path() != "")
	})
}

// FuzzCertsParsePEM feeds any bytes to the parsers of files: what is accepted is accepted whole, and so is refused as
// soon as something stands behind it.
func FuzzCertsParsePEM(f *testing.F) {
	cert := block("CERTIFICATE", issuer().Raw)
	key := block("PRIVATE KEY", pkcs8(f, testKey()))
	for _, seed := range [][]byte{
		nil, cert, key, append(cert[:len(cert):len(cert)], cert...), append(key[:len(key):len(key)], cert...),
		[]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"), cert[:100], append([]byte("x\n"), cert...),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		behind := append(data[:len(data):len(data)], "\nx"...)
		parsed, err := certs.ParseCertificates("f", data)
		requireDamaged(t, err, len(parsed) == 0)
		_, err = certs.ParseCertificates("f", behind)
		requireDamaged(t, err, true)
		var again []byte
		for _, cert := range parsed {
			again = append(again, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
		}
		if len(parsed) > 0 {
			reparsed, err := certs.ParseCertificates("f", again)
			require.NoError(t, err)
			require.Equal(t, raw(parsed), raw(reparsed))
		}

		signer, err := certs.ParseKey("f", data)
		requireDamaged(t, err, signer == nil)
		_, err = certs.ParseKey("f", behind)
		requireDamaged(t, err, true)
	})
}

func requireDamaged(t *testing.T, err error, refused bool) {
	t.Helper()
	require.Equal(t, refused, err != nil)
	if refused && !errors.Is(err, certs.ErrDamaged) {
		t.Fatalf("not ErrDamaged: %v", err)
	}
}

func raw(parsed []*x509.Certificate) [][]byte {
	var all [][]byte
	for _, cert := range parsed {
		all = append(all, cert.Raw)
	}
	return all
}
