package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/interlock-authz/interlock/certs"
)

// unshaken is why a server refuses a chain in the handshake.
type unshaken struct {
	err    error
	advice string // what to do, unless the error says it
	alert  string // what the client is told, by Go's name for it
}

// String says what is wrong, what to do, and what the client sees.
func (u *unshaken) String() string {
	if u.advice == "" {
		return fmt.Sprintf("%v (tls: %s)", u.err, u.alert)
	}
	return fmt.Sprintf("%v; %s (tls: %s)", u.err, u.advice, u.alert)
}

// Limits of crypto/tls.
const (
	maxChainSize = 256 << 10 // of the message with a client's certificates, in bytes
	maxRSABits   = 8192
)

// shakeHands looks at a chain as crypto/tls does in the handshake, in that order, and gives
// the verified chains.
func shakeHands(chain []*x509.Certificate, a *certs.TrustAnchors, at time.Time) ([][]*x509.Certificate, *unshaken) {
	if n := messageSize(chain); n > maxChainSize {
		return nil, &unshaken{fmt.Errorf("the certificates take %d bytes of at most %d", n, maxChainSize),
			"send fewer or smaller ones", "internal error"}
	}
	if slices.ContainsFunc(chain, hasHugeKey) {
		return nil, &unshaken{fmt.Errorf("an RSA key is larger than %d bits", maxRSABits),
			"issue the certificate for a smaller key", "bad certificate"}
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	verified, err := chain[0].Verify(x509.VerifyOptions{
		Roots: a.Pool(), Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, unverified(err)
	}
	if u := unusableKey(chain[0]); u != nil {
		return nil, u
	}
	if err := certs.CheckSize(tls.ConnectionState{PeerCertificates: chain, VerifiedChains: verified}); err != nil {
		return nil, &unshaken{err, "", "bad certificate"}
	}
	return verified, nil
}

// messageSize is how long the message with these certificates is (RFC 8446, section 4.4.2).
func messageSize(chain []*x509.Certificate) int {
	n := 1 + 3
	for _, c := range chain {
		n += 3 + len(c.Raw) + 2
	}
	return n
}

func hasHugeKey(c *x509.Certificate) bool {
	key, ok := c.PublicKey.(*rsa.PublicKey)
	return ok && key.N.BitLen() > maxRSABits
}

// unusableKey refuses a leaf whose key signs no handshake of TLS 1.3.
func unusableKey(leaf *x509.Certificate) *unshaken {
	const advice = "issue the certificate for an ECDSA key (P-256, P-384, P-521), an Ed25519 key or an RSA key"
	switch key := leaf.PublicKey.(type) {
	case *rsa.PublicKey, ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P224() {
			return nil
		}
		return &unshaken{errors.New("TLS 1.3 knows no signature by a key on the curve P-224"), advice, "illegal parameter"}
	}
	return &unshaken{errors.New("the certificate is for a key of a kind that cannot sign"), advice, "unsupported certificate"}
}

// unverified says what to do about an error of [x509.Certificate.Verify].
func unverified(err error) *unshaken {
	u := &unshaken{err: err, alert: "bad certificate"}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		u.alert = "unknown certificate authority"
		u.advice = adviceForIssuer(err.Error())
		return u
	}
	if _, ok := errors.AsType[x509.UnhandledCriticalExtension](err); ok {
		u.advice = "issue it without the critical extension, which the server does not understand"
		return u
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if ok && invalid.Reason == x509.Expired {
		u.alert = "expired certificate"
	}
	u.advice = adviceFor(invalid.Reason, ok)
	return u
}

// adviceForIssuer says what to do if no known CA has signed a chain. Why one that
// seems to have did not stands in the error's text only.
func adviceForIssuer(text string) string {
	switch {
	case strings.Contains(text, "insecure algorithm"):
		return "have it signed with SHA-256 or better"
	case strings.Contains(text, "parent certificate cannot sign"):
		return "issue the intermediate one as a CA (CA:TRUE, keyCertSign)"
	case strings.Contains(text, "verification"):
		return "that CA has only the name of its issuer; have it issued by the CA itself"
	}
	return "have it issued by a CA of clients (tls.client-ca), and put intermediate ones behind it into the file"
}

func adviceFor(reason x509.InvalidReason, known bool) string {
	const anew = "have it issued anew"
	if !known {
		return anew
	}
	switch reason {
	case x509.Expired:
		return "present one that is valid now, under CAs that are, and see that the clocks are right"
	case x509.NotAuthorizedToSign:
		return "issue the intermediate one as a CA (CA:TRUE, keyCertSign)"
	case x509.TooManyIntermediates:
		return "have it issued nearer to the CA whose path length this exceeds"
	case x509.IncompatibleUsage, x509.CANotAuthorizedForExtKeyUsage, x509.NoValidChains:
		return "issue it with the extended key usage clientAuth, under CAs without extended key usages or with this one"
	case x509.CANotAuthorizedForThisName, x509.UnconstrainedName, x509.NameConstraintsWithoutSANs, x509.TooManyConstraints:
		return "have it issued for a name that the constraints of every CA above it permit"
	case x509.NameMismatch:
		return "put the certificate of its own issuer behind it into the file"
	}
	return anew
}
