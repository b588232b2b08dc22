package ca

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

// rejection is the reason for which a server rejects a chain in the handshake.
type rejection struct {
	err    error
	advice string // what to do, unless the error says it
	alert  string // the alert that the client receives, by Go's name for it
}

// String says what is wrong, what to do, and which alert the client receives.
func (u *rejection) String() string {
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

// verify checks a chain as crypto/tls does in the handshake, in the same order. It returns the verified chains.
func verify(chain []*x509.Certificate, a *certs.TrustAnchors, at time.Time) ([][]*x509.Certificate, *rejection) {
	if n := messageSize(chain); n > maxChainSize {
		return nil, &rejection{fmt.Errorf("the certificates take %d bytes of at most %d", n, maxChainSize),
			"send fewer or smaller certificates", "internal error"}
	}
	if slices.ContainsFunc(chain, hasHugeKey) {
		return nil, &rejection{fmt.Errorf("an RSA key is larger than %d bits", maxRSABits),
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
		return nil, &rejection{err, "", "bad certificate"}
	}
	return verified, nil
}

// messageSize is the length of the message with these certificates, in bytes (RFC 8446, section 4.4.2).
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

// unusableKey rejects a leaf whose key cannot sign a handshake of TLS 1.3.
func unusableKey(leaf *x509.Certificate) *rejection {
	const advice = "issue the certificate for an ECDSA key (P-256, P-384, P-521), an Ed25519 key or an RSA key"
	switch key := leaf.PublicKey.(type) {
	case *rsa.PublicKey, ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P224() {
			return nil
		}
		return &rejection{errors.New("TLS 1.3 has no signature scheme for the curve P-224"), advice, "illegal parameter"}
	}
	return &rejection{errors.New("the key of the certificate is of a type that cannot sign"), advice, "unsupported certificate"}
}

// unverified adds advice and the alert to an error of [x509.Certificate.Verify].
func unverified(err error) *rejection {
	u := &rejection{err: err, alert: "bad certificate"}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		u.alert = "unknown certificate authority"
		u.advice = adviceForIssuer(err.Error())
		return u
	}
	if _, ok := errors.AsType[x509.UnhandledCriticalExtension](err); ok {
		u.advice = "issue the certificate without the critical extension, which the server does not support"
		return u
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if ok && invalid.Reason == x509.Expired {
		u.alert = "expired certificate"
	}
	u.advice = adviceFor(invalid.Reason, ok)
	return u
}

// adviceForIssuer says what to do if no trusted CA has signed a chain. Only the text of the error says why a candidate
// does not count.
func adviceForIssuer(text string) string {
	switch {
	case strings.Contains(text, "insecure algorithm"):
		return "have the certificate signed with SHA-256 or better"
	case strings.Contains(text, "parent certificate cannot sign"):
		return "issue the intermediate certificate as a CA (CA:TRUE, keyCertSign)"
	case strings.Contains(text, "verification"):
		return "the CA has the name of the issuer but another key; have the certificate issued by the trusted CA"
	}
	return "have it issued by a CA in tls.client-ca, and append intermediate certificates to the file"
}

// adviceFor says what to do about an invalid certificate.
func adviceFor(reason x509.InvalidReason, known bool) string {
	const reissue = "have a new certificate issued"
	if !known {
		return reissue
	}
	switch reason {
	case x509.Expired:
		return "present a certificate that is valid now, from CAs that are valid now, and check the clocks"
	case x509.NotAuthorizedToSign:
		return "issue the intermediate certificate as a CA (CA:TRUE, keyCertSign)"
	case x509.TooManyIntermediates:
		return "use fewer intermediate CAs; a CA in the chain limits their number"
	case x509.IncompatibleUsage, x509.CANotAuthorizedForExtKeyUsage, x509.NoValidChains:
		return "issue the certificate with the extended key usage clientAuth, by CAs that have no extended key usages or this one"
	case x509.CANotAuthorizedForThisName, x509.UnconstrainedName, x509.NameConstraintsWithoutSANs, x509.TooManyConstraints:
		return "have the certificate issued for a name that the constraints of all its CAs permit"
	case x509.NameMismatch:
		return "append the certificate of its own issuer to the file"
	}
	return reissue
}
