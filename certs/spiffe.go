package certs

import (
	"net/url"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// maxSPIFFEID and maxTrustDomain are the maximum lengths, in bytes, that the SPIFFE ID standard requires every
// implementation to support.
const (
	maxSPIFFEID    = 2048
	maxTrustDomain = 255
)

// isSPIFFE reports whether a URI is meant as a SPIFFE ID, in any spelling.
func isSPIFFE(uri string) bool {
	scheme, _, _ := strings.Cut(uri, ":")
	return strings.EqualFold(scheme, string(RuleSPIFFE))
}

// identifySPIFFE returns the identity of a leaf with these URIs, at least one of which is a SPIFFE ID.
func identifySPIFFE(uris []string) (Identity, error) {
	if len(uris) > 1 {
		return Identity{}, refuseSeveral(uris)
	}
	id, refusal := parseSPIFFE(uris[0])
	if refusal != nil {
		return Identity{}, refusal
	}
	return Identity{Name: id.String(), Rule: RuleSPIFFE}, nil
}

func refuseSeveral(uris []string) error {
	count := 0
	for _, uri := range uris {
		if isSPIFFE(uri) {
			count++
		}
	}
	if count > 1 {
		return refuse(ReasonSeveralSPIFFEIDs,
			"the certificate has %d SPIFFE IDs; issue one certificate for each", count)
	}
	return refuse(ReasonMixedURIs,
		"the certificate has a SPIFFE ID and %d more URIs; issue it with the SPIFFE ID as its only URI", len(uris)-1)
}

// ParseSPIFFEID parses the SPIFFE ID of a client in its canonical form, with a path. The error is an *[IdentityError] with
// [ReasonNotCanonical] or [ReasonNoPath].
func ParseSPIFFEID(text string) (spiffeid.ID, error) {
	id, rejected := parseSPIFFE(text)
	if rejected != nil {
		return spiffeid.ID{}, rejected
	}
	return id, nil
}

// parseSPIFFE parses the SPIFFE ID of a client in canonical form.
func parseSPIFFE(text string) (spiffeid.ID, *IdentityError) {
	id, err := parseCanonical(text)
	if err != nil {
		return spiffeid.ID{}, refuse(ReasonNotCanonical,
			"the SPIFFE ID %.120q is not in its canonical form (%v); issue it as spiffe://trust-domain/path: a "+
				"lower-case trust domain, no percent-encoding, no dot segments, no slash at the end", text, err)
	}
	if id.Path() == "" {
		return spiffeid.ID{}, refuse(ReasonNoPath,
			"the SPIFFE ID %.120q names a whole trust domain; issue it with a path, such as %s/alice", text, text)
	}
	return id, nil
}

// parseCanonical parses a SPIFFE ID that has the spelling of its parser.
func parseCanonical(text string) (spiffeid.ID, error) {
	uri, err := url.Parse(text)
	if err != nil {
		return spiffeid.ID{}, errNotURI
	}
	id, err := spiffeid.FromURI(uri)
	switch {
	case err != nil:
		return spiffeid.ID{}, err
	case id.String() != text:
		return spiffeid.ID{}, errOtherSpelling
	case len(text) > maxSPIFFEID || len(id.TrustDomain().Name()) > maxTrustDomain:
		return spiffeid.ID{}, errTooLong
	}
	return id, nil
}
