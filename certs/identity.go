package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"strings"
	"time"
)

// Identity is who a verified certificate speaks for. It is comparable; only an [Identifier] makes one. The zero
// Identity is nobody.
type Identity struct {
	// Name is the canonical name with the prefix of its kind, such as spiffe://example.org/alice or dns:alice.
	Name string
	// Rule is the rule that found the name.
	Rule Rule
}

// Identifier finds the identity in a verified chain. It is immutable and may be used by many goroutines. The zero
// Identifier knows SPIFFE IDs only.
type Identifier struct {
	rules       []Rule
	authorities *TrustAnchors // nil if whoever verified the chain may certify any name
	mapped      map[[sha256.Size]byte]string
}

// Under returns an Identifier that refuses a name which the CA at the end of the chain
// may not certify.
func (id *Identifier) Under(a *TrustAnchors) *Identifier {
	return &Identifier{rules: id.rules, authorities: a, mapped: id.mapped}
}

// Mapping returns an Identifier by which single certificates, by the SHA-256 of the whole, have
// these names, with whatever is in them: no rule is asked, and no CA need be bound to
// the name. A CA of clients must have issued them all the same, for clients. The map
// belongs to the Identifier from now on.
func (id *Identifier) Mapping(names map[[sha256.Size]byte]string) *Identifier {
	return &Identifier{rules: id.rules, authorities: id.authorities, mapped: names}
}

// NewIdentifier makes an Identifier that looks for a SPIFFE ID first and then asks the rules in their order.
// [RuleSPIFFE] may be left out; if it is named it must be the first. A rule that is unknown, named twice or out of
// place is a *[RuleError].
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

// Identify gives the identity of the leaf of chain, which must be one verified chain, leaf first, such as
// VerifiedChains[0] of a [crypto/tls.ConnectionState]: Identify verifies no signature and no date. The chain is only
// read.
//
// Whatever the rule, the leaf must be no CA, must be allowed to make digital signatures but not to sign
// certificates or CRLs, and must name the extended key usage clientAuth. Then:
//
//   - If one of its URIs is a spiffe: one, it must be the only URI, in the canonical form of a SPIFFE ID, with a path.
//     No other rule is asked.
//   - Else the rules are asked in order. One that finds no value passes on to the next; one that finds several is
//     refused, and so is a value that is malformed: a wildcard, a control character, an upper-case or non-ASCII host.
//
// At last the CA at the end of the chain must be one that may certify the name: see [Identifier.Under].
//
// Every error is an *[IdentityError], and comes with the zero Identity.
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

// Verify gives the first chain from a certificate to one of the CAs that the Identifier stands under, for a
// client, at that moment: for certificates that no handshake has verified. given is the leaf and perhaps
// intermediates, leaf first. Every error is an *[IdentityError]; without CAs all are refused.
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

// identifyBy makes the identity of the one value that a rule has found.
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

// checkUsage refuses a leaf that was not made to identify a client.
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
