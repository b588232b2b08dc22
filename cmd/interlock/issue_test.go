package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// issueExpired issues an expired client certificate.
func issueExpired(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(cli.DevFolder)
	authority, err := devca.Load(dir)
	ts.Check(err)
	pair, err := authority.IssueClient(devca.ClientOptions{
		SPIFFEID: cli.DevTrustDomain + args[0], Lifetime: time.Hour,
		Now: func() time.Time { return time.Now().Add(-2 * time.Hour) },
	})
	ts.Check(err)
	ts.Check(pair.Write(dir, args[0], false))
}

// issueTwoIDs issues a client certificate with two SPIFFE IDs. Package devca issues none.
func issueTwoIDs(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(cli.DevFolder)
	issuer, err := certs.LoadKeyPair(dir+"/ca.crt", dir+"/ca.key")
	ts.Check(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs: []*url.URL{
			{Scheme: "spiffe", Host: "interlock.test", Path: "/one"},
			{Scheme: "spiffe", Host: "interlock.test", Path: "/two"},
		},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, issuer.Leaf, &key.PublicKey, issuer.PrivateKey)
	ts.Check(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	pair := devca.KeyPair{
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}
	ts.Check(pair.Write(dir, args[0], false))
}

func fingerprint(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(cli.DevFolder + "/" + args[0] + ".crt")
	parsed, err := certs.ParseCertificates(args[0], []byte(text))
	ts.Check(err)
	ts.Setenv("FINGERPRINT", fmt.Sprintf("%x", sha256.Sum256(parsed[0].Raw)))
}
