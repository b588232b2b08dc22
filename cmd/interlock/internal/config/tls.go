package config

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/workload"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// The values of tls.stale-crls: what the server does with the certificates of a CA whose CRL is stale.
const (
	RefuseStale = "refuse" // the default
	AcceptStale = "accept"
)

// workloadTimeout bounds the wait for the first answer of a Workload API.
const workloadTimeout = time.Minute

// TLS configures the server's credentials, and the trust anchors and CRLs for clients.
type TLS struct {
	Certificate string  `yaml:"certificate"`
	Key         string  `yaml:"key"`
	MinVersion  Version `yaml:"min-version"` // 0 for the default of [certs.ServerConfig]
	ClientCA    string  `yaml:"client-ca"`
	// ClientCAs are bound to names; the CAs of ClientCA are not.
	ClientCAs []certs.Binding `yaml:"client-cas"`
	// WorkloadAPI replaces Certificate, Key and ClientCA.
	WorkloadAPI WorkloadAPI `yaml:"workload-api"`
	CRLs        []string    `yaml:"crls"`
	StaleCRLs   string      `yaml:"stale-crls"`
}

// WorkloadAPI configures a SPIFFE Workload API. An empty address disables it.
type WorkloadAPI struct {
	Address      string   `yaml:"address"`
	SPIFFEID     string   `yaml:"spiffe-id"`
	TrustDomains []string `yaml:"trust-domains"`
}

// Version is a version of TLS, such as [tls.VersionTLS13]. Its text is 1.2 or 1.3, in a file with or without quotes.
type Version uint16

// versions maps the texts of versions to versions.
var versions = map[string]Version{"": 0, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// UnmarshalText accepts 1.2, 1.3, and the empty text for 0.
func (v *Version) UnmarshalText(text []byte) error {
	version, known := versions[string(text)]
	if !known {
		return errors.New("must be 1.3 or 1.2")
	}
	*v = version
	return nil
}

// MarshalText returns a text that UnmarshalText accepts. It returns an error for any other version.
func (v Version) MarshalText() ([]byte, error) {
	for text, version := range versions {
		if version == v {
			return []byte(text), nil
		}
	}
	return nil, fmt.Errorf("TLS version %#x: unknown", uint16(v))
}

// AcceptsStaleCRLs reports whether certificates are valid although the CRL of their CA is stale.
func (c *TLS) AcceptsStaleCRLs() bool { return c.StaleCRLs == AcceptStale }

// TrustAnchors returns the files with the CAs of clients.
func (c *TLS) TrustAnchors() []certs.Binding {
	if c.ClientCA == "" {
		return c.ClientCAs
	}
	return append([]certs.Binding{{File: c.ClientCA}}, c.ClientCAs...)
}

// IsZero reports whether no credentials, no trust anchors and no Workload API are set.
func (c *TLS) IsZero() bool {
	return c.Certificate == "" && c.Key == "" && len(c.TrustAnchors()) == 0 && c.WorkloadAPI.Address == ""
}

// check rejects unknown values, and a server without a certificate, with two, or without client CAs.
func (c *TLS) check() error {
	if err := c.checkSources(); err != nil {
		return err
	}
	switch c.StaleCRLs {
	case "", RefuseStale, AcceptStale:
		return nil
	}
	return fmt.Errorf("tls.stale-crls is %q; it must be refuse or accept", c.StaleCRLs)
}

// checkSources requires either files or a Workload API.
func (c *TLS) checkSources() error {
	if c.WorkloadAPI.Address != "" {
		// A Workload API may be joined with client-cas.
		for _, key := range []struct{ name, value string }{
			{"tls.certificate", c.Certificate}, {"tls.key", c.Key}, {"tls.client-ca", c.ClientCA},
		} {
			if key.value != "" {
				return fmt.Errorf("%s and tls.workload-api.address are both set; remove one of them", key.name)
			}
		}
		return nil
	}
	if c.WorkloadAPI.SPIFFEID != "" || len(c.WorkloadAPI.TrustDomains) > 0 {
		return errors.New("tls.workload-api.address is not set; set it to the address of the Workload API")
	}
	missing := ""
	switch {
	case c.Certificate == "":
		missing = "tls.certificate"
	case c.Key == "":
		missing = "tls.key"
	case len(c.TrustAnchors()) == 0 || c.TrustAnchors()[0].File == "":
		missing = "tls.client-ca"
	default:
		return nil
	}
	return cli.Hint(fmt.Errorf("%s is not set", missing),
		"interlock serve --dev makes certificates for a trial; interlock serve --help shows a complete configuration")
}

// Join returns the Workload API joined with another source, and a function that closes the Workload API. Without an
// address it returns the other source. It waits up to a minute for the first answer of the Workload API.
func (c *WorkloadAPI) Join(ctx context.Context, other certs.Source, log *slog.Logger) (certs.Source, func() error, error) {
	if c.Address == "" {
		return other, func() error { return nil }, nil
	}
	ctx, cancel := context.WithTimeout(ctx, workloadTimeout)
	defer cancel()
	log.Info("connecting to the Workload API", slog.String("address", c.Address))
	api, err := workload.New(ctx, workload.Options{Address: c.Address, SPIFFEID: c.SPIFFEID, TrustDomains: c.TrustDomains, Logger: log})
	if err != nil {
		return nil, nil, fmt.Errorf("tls.workload-api: %w", err)
	}
	return certs.Join(api, other), api.Close, nil
}
