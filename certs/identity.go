package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"strings"
	"time"
)

// Identity is the principal that a verified certificate identifies. It is comparable. Only an [Identifier] makes one.
// The zero Identity means none.
type Identity struct {
	// Name is the canonical name with the prefix of its kind, such as spiffe://example.org/alice or dns:alice.
	Name string
	// Rule is the rule that found the name.
	Rule Rule
}

// Identifier finds the identity in a verified chain. It is immutable and safe for concurrent use. The zero Identifier
// accepts SPIFFE IDs only.
type Identifier struct {
	rules       []Rule
	authorities *TrustAnchors // nil if every CA may certify every name
	mapped      map[[sha256.Size]byte]string
}

// Under returns an Identifier that rejects names which the CA at the end of the chain may not certify.
func (id *Identifier) Under(a *TrustAnchors) *Identifier {
	return &Identifier{rules: id.rules, authorities: a, mapped: id.mapped}
}

// Mapping returns an Identifier that gives single certificates, by the SHA-256 of the whole certificate, these names.
// For them no rule and no CA binding applies. A client CA must still have issued them for clients. The Identifier owns
// the map.
func (id *Identifier) Mapping(names map[[sha256.Size]byte]string) *Identifier {
	return &Identifier{rules: id.rules, authorities: id.authorities, mapped: names}
}

// NewIdentifier returns an Identifier that looks for a SPIFFE ID first and then applies the rules in order.
// [RuleSPIFFE] may be omitted; if present it must be first. An unknown, repeated or misplaced rule is a *[RuleError].
func NewIdentifier(rules ...Rule) (*Identifier, error) {
	if len(rules) > 0 && rules[0] == RuleSPIFFE {
		rules = rules[1:]
	}
	for i, rule := range rules {
		if rule == RuleSPIFFE {
			return nil, &RuleError{rule, "always comes first: name it first, once, or not at all"}
		}
		if _, known := sources[rule]; !known {
			return nil, &RuleError{rule, "is unknown; the rules are spiffe, dns, email, uri, sha256, spki, cn"}
		}
		if slices.Contains(rules[:i], rule) {
			return nil, &RuleError{rule, "is named twice; name it once"}
		}
	}
	return &Identifier{rules: slices.Clone(rules)}, nil
}

// Identify returns the identity of the leaf of a verified chain, leaf first, such as VerifiedChains[0] of a
// [crypto/tls.ConnectionState]. It verifies no signature and no date. It does not change the chain.
//
// For every rule, the leaf must not be a CA, must allow digital signatures, must not allow signing certificates or
// CRLs, and must have the extended key usage clientAuth. Then:
//
//   - A spiffe: URI must be the only URI, in canonical form and with a path. No other rule applies.
//   - Otherwise the rules apply in order. The first rule that finds a value decides. A rule that finds several values,
//
// or a malformed one (a wildcard, a control character, an upper-case or non-ASCII host), rejects the leaf.
//
// Finally, the CA at the end of the chain must be allowed to certify the name: see [Identifier.Under].
//
// Every error is an *[IdentityError] and comes with the zero Identity.
func (id *Identifier) Identify(chain []*x509.Certificate) (Identity, error) {
	found, err := id.find(chain)
	if err == nil && id.authorities != nil && found.Rule != RuleMapped {
		err = id.authorities.check(chain, found)
	}
	if err != nil {
		return Identity{}, err
	}
	return found, nil
}

// Verify returns the first chain from a certificate to a trust anchor of the Identifier, for client authentication, at
// that time. It is for certificates that no handshake has verified. given is the leaf and its intermediates, leaf
// first. Every error is an *[IdentityError]. Without trust anchors it rejects all certificates.
func (id *Identifier) Verify(given []*x509.Certificate, now time.Time) ([]*x509.Certificate, error) {
	leaf, err := leafOf(given)
	if err != nil {
		return nil, err
	}
	if id.authorities == nil {
		return nil, refuse(ReasonNotVerified, "there are no CAs to verify the certificate by; configure them")
	}
	intermediates := x509.NewCertPool()
	for _, cert := range given[1:] {
		intermediates.AddCert(cert)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: id.authorities.Pool(), Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, refuse(ReasonNotVerified, "the certificate does not verify: %.300s; present one that is valid now and "+
			"that a CA of clients has issued to a client", err.Error())
	}
	return chains[0], nil
}

func (id *Identifier) find(chain []*x509.Certificate) (Identity, error) {
	leaf, err := leafOf(chain)
	if err != nil {
		return Identity{}, err
	}
	if err := checkUsage(leaf); err != nil {
		return Identity{}, err
	}
	if len(id.mapped) > 0 {
		if name, ok := id.mapped[sha256.Sum256(leaf.Raw)]; ok {
			return Identity{Name: name, Rule: RuleMapped}, nil
		}
	}
	uris, err := uriNames(leaf)
	if err != nil {
		return Identity{}, err
	}
	if slices.ContainsFunc(uris, isSPIFFE) {
		return identifySPIFFE(uris)
	}
	for _, rule := range id.rules {
		if values := sources[rule].values(leaf, uris); len(values) > 0 {
			return identifyBy(rule, values)
		}
	}
	return Identity{}, refuse(ReasonNoIdentity,
		"the certificate has no SPIFFE ID and %s; issue it with a name such as spiffe://example.org/alice",
		rulesTried(id.rules))
}

// identifyBy returns the identity of the single value that a rule has found.
func identifyBy(rule Rule, values []string) (Identity, error) {
	what := sources[rule].what
	if len(values) > 1 {
		return Identity{}, refuse(ReasonAmbiguous,
			"the certificate has %d values for its %s; issue it with exactly one", len(values), what)
	}
	if err := sources[rule].check(values[0]); err != nil {
		return Identity{}, refuse(ReasonMalformedName,
			"the %s %.120q of the certificate %v; issue it with one exact name", what, values[0], err)
	}
	return Identity{Name: string(rule) + ":" + values[0], Rule: rule}, nil
}

func rulesTried(rules []Rule) string {
	if len(rules) == 0 {
		return "no other rule is configured"
	}
	var names []string
	for _, rule := range rules {
		names = append(names, string(rule))
	}
	return "nothing for the configured rules (" + strings.Join(names, ", ") + ")"
}

func leafOf(chain []*x509.Certificate) (*x509.Certificate, error) {
	if len(chain) == 0 || chain[0] == nil {
		return nil, refuse(ReasonNoCertificate,
			"the client presented no certificate; present one that an accepted CA has issued")
	}
	return chain[0], nil
}

// checkUsage rejects a leaf that may not identify a client.
func checkUsage(leaf *x509.Certificate) error {
	const signsOthers = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	switch {
	case leaf.IsCA:
		return refuse(ReasonCAAsLeaf,
			"the certificate is a CA's; present one that the CA has issued to the client")
	case leaf.KeyUsage&signsOthers != 0:
		return refuse(ReasonKeyUsage,
			"the key usage allows the certificate to sign certificates or CRLs; "+
				"issue it without keyCertSign and cRLSign")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return refuse(ReasonKeyUsage,
			"the key usage does not allow digital signatures; issue the certificate with digitalSignature")
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return refuse(ReasonNotForClients,
			"the certificate is not for clients (a server's?); issue it with the extended key usage clientAuth")
	}
	return nil
}
