package workload

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/interlock-authz/interlock/certs"
)

// ErrUnusable is wrapped when the newest answer of the Workload API cannot be used.
var ErrUnusable = errors.New("workload: unusable answer from the Workload API")

// material checks a whole answer at this time, and selects its parts.
func (c choice) material(answer *workloadapi.X509Context) (certs.Material, error) {
	svid, err := c.svid(answer)
	if err != nil {
		return certs.Material{}, err
	}
	if own, given := answer.Bundles.Get(svid.ID.TrustDomain()); !given || own.Empty() {
		return certs.Material{}, fmt.Errorf("%w: %w: the bundle of %s is empty; check the agent", ErrUnusable, certs.ErrNoTrustAnchors, svid.ID.TrustDomain())
	}
	if _, _, err := x509svid.Verify(svid.Certificates, answer.Bundles); err != nil {
		return certs.Material{}, fmt.Errorf("%w: the SVID %s does not verify under the bundle of its trust domain: %w; check that the agent renews both, and the clocks",
			ErrUnusable, svid.ID, err)
	}
	authorities, err := c.authorities(answer)
	if err != nil {
		return certs.Material{}, err
	}
	return certs.Material{Certificate: certificate(svid), TrustAnchors: authorities}, nil
}

// svid selects the server's SVID.
func (c choice) svid(answer *workloadapi.X509Context) (*x509svid.SVID, error) {
	if c.id.IsZero() {
		return answer.DefaultSVID(), nil
	}
	i := slices.IndexFunc(answer.SVIDs, func(s *x509svid.SVID) bool { return s.ID == c.id })
	if i < 0 {
		return nil, fmt.Errorf("%w: no SVID %s among the %d; register the workload for it, or select another",
			ErrUnusable, c.id, len(answer.SVIDs))
	}
	return answer.SVIDs[i], nil
}

func certificate(svid *x509svid.SVID) tls.Certificate {
	pair := tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}
	for _, cert := range svid.Certificates {
		pair.Certificate = append(pair.Certificate, cert.Raw)
	}
	return pair
}

// CAs binds the CAs of each trust domain to it. An empty bundle means that it was removed.
func (c choice) authorities(answer *workloadapi.X509Context) (*certs.TrustAnchors, error) {
	var each []certs.Source
	for _, bundle := range answer.Bundles.Bundles() {
		if bundle.Empty() || !c.counts(bundle) {
			continue
		}
		bound, err := certs.BindTrustAnchors(bundle.TrustDomain(), bundle.X509Authorities()...)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
		}
		each = append(each, given{authorities: bound})
	}
	if len(each) == 0 {
		return nil, fmt.Errorf("%w: %w: no bundle for %v; federate with one of them, or list another", ErrUnusable, certs.ErrNoTrustAnchors, c.domains)
	}
	all, err := certs.Join(each...).Load()
	return all.TrustAnchors, err
}

func (c choice) counts(bundle *x509bundle.Bundle) bool {
	return len(c.domains) == 0 || slices.Contains(c.domains, bundle.TrustDomain())
}

// missing returns the trust domains without CAs that the options or the answer name.
func (c choice) missing(answer *workloadapi.X509Context) []spiffeid.TrustDomain {
	var none []spiffeid.TrustDomain
	for _, domain := range c.domains {
		if !answer.Bundles.Has(domain) {
			none = append(none, domain)
		}
	}
	for _, bundle := range answer.Bundles.Bundles() {
		if bundle.Empty() && c.counts(bundle) {
			none = append(none, bundle.TrustDomain())
		}
	}
	return none
}

// given is a source of fixed trust anchors.
type given struct {
	certs.Source
	authorities *certs.TrustAnchors
}

// Load implements [certs.Source].
func (g given) Load() (certs.Material, error) {
	return certs.Material{TrustAnchors: g.authorities}, nil
}
