package certs_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
)

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkcs8(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return der
}

func TestParseKeyForms(t *testing.T) {
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecDER, err := x509.MarshalECPrivateKey(testKey())
	require.NoError(t, err)
	tests := map[string]struct {
		data []byte
		want crypto.Signer
	}{
		"EC in PKCS #8":      {block("PRIVATE KEY", pkcs8(t, testKey())), testKey()},
		"EC":                 {block("EC PRIVATE KEY", ecDER), testKey()},
		"RSA in PKCS #8":     {block("PRIVATE KEY", pkcs8(t, rsaKey)), rsaKey},
		"RSA":                {block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), rsaKey},
		"Ed25519 in PKCS #8": {block("PRIVATE KEY", pkcs8(t, edKey)), edKey},
		"line ends of DOS":   {bytes.ReplaceAll(block("EC PRIVATE KEY", ecDER), []byte("\n"), []byte("\r\n")), testKey()},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := certs.ParseKey("k", test.data)
			require.NoError(t, err)
			require.Equal(t, test.want.Public(), got.Public())
		})
	}
}

func TestParseRefusesOtherKinds(t *testing.T) {
	exchange, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	key := block("PRIVATE KEY", pkcs8(t, testKey()))
	cert := block("CERTIFICATE", issuer().Raw)
	keys := map[string][]byte{
		"certificate":       cert,
		"two keys":          append(key[:len(key):len(key)], key...),
		"key for exchange":  block("PRIVATE KEY", pkcs8(t, exchange)),
		"wrong label":       block("RSA PRIVATE KEY", pkcs8(t, testKey())),
		"unknown label":     block("SECRET KEY", pkcs8(t, testKey())),
		"bytes behind key":  block("PRIVATE KEY", append(pkcs8(t, testKey()), 0)),
		"no ASN.1":          block("PRIVATE KEY", []byte("hello")),
		"encrypted PKCS #8": block("ENCRYPTED PRIVATE KEY", pkcs8(t, testKey())),
		"empty block":       block("PRIVATE KEY", nil),
	}
	for name, data := range keys {
		t.Run("key: "+name, func(t *testing.T) {
			got, err := certs.ParseKey("k", data)
			require.Nil(t, got)
			requireFileError(t, err, certs.ErrDamaged, "k")
		})
	}
	certificates := map[string][]byte{
		"key":              key,
		"key behind":       append(cert[:len(cert):len(cert)], key...),
		"bytes behind it":  block("CERTIFICATE", append(issuer().Raw[:len(issuer().Raw):len(issuer().Raw)], 0)),
		"request":          block("CERTIFICATE REQUEST", issuer().Raw),
		"no ASN.1":         block("CERTIFICATE", []byte("hello")),
		"good then broken": append(cert[:len(cert):len(cert)], block("CERTIFICATE", issuer().Raw[:50])...),
	}
	for name, data := range certificates {
		t.Run("certificate: "+name, func(t *testing.T) {
			got, err := certs.ParseCertificates("c", data)
			require.Nil(t, got)
			requireFileError(t, err, certs.ErrDamaged, "c")
		})
	}
}

// An error about a key must not carry the key into a log.
func TestParseKeyErrorsShowNothingOfTheKey(t *testing.T) {
	data := block("PRIVATE KEY", pkcs8(t, testKey()))
	for length := range len(data) - 1 {
		_, err := certs.ParseKey("k", data[:length])
		require.Error(t, err)
		for at := 30; at+8 < len(data)-30; at += 8 {
			require.NotContains(t, err.Error(), string(data[at:at+8]))
		}
	}
}
