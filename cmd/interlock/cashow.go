package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi"
)

// show is the command that says who a certificate speaks for.
type show struct {
	ca     string
	config string
	rules  []string
	at     string
}

func caShowCommand() *cobra.Command {
	s := &show{}
	cmd := &cobra.Command{
		Use: "show FILE", Short: "Say whom a server would see in a certificate, and why or why not", Args: cobra.ExactArgs(1),
		Long: `Say what stands in a certificate, whether the CAs of clients have issued it, and
which identity a server sees in it, or why none and what to do. FILE begins with the client's certificate;
intermediate ones may follow. Exit status 1 means that it has no identity.`,
		Example: "  interlock ca show .interlock/alice.crt\n  interlock ca show client.crt --config interlock.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.run(cmd.Context(), cmd.OutOrStdout(), args[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.ca, "ca", filepath.Join(cli.DevFolder, devca.CertFile), "`file` with the CAs of clients")
	f.StringVar(&s.config, "config", "", "configuration `file` of a server, for its CAs, rules and CRLs")
	f.StringSliceVar(&s.rules, "identity", nil, "`rules` after the SPIFFE ID, such as dns,email")
	f.StringVar(&s.at, "at", "", "`time` to verify at, as 2027-01-31T12:00:00Z (default now)")
	cmd.MarkFlagsMutuallyExclusive("config", "ca")
	cmd.MarkFlagsMutuallyExclusive("config", "identity")
	return cmd
}

func (s *show) run(ctx context.Context, out io.Writer, path string) error {
	at := time.Now()
	if s.at != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, s.at); err != nil {
			return fmt.Errorf("--at %q is no time of the form 2027-01-31T12:00:00Z", s.at)
		}
	}
	server, err := s.server(ctx, at)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	chain, err := certs.ParseCertificates(path, text)
	if err != nil {
		return err
	}
	if err := describeCertificate(out, chain[0], at); err != nil {
		return err
	}
	return server.conclude(out, chain, at)
}

// viewer is a server, as far as it looks at certificates.
type viewer struct {
	identifier  *certs.Identifier
	authorities *certs.TrustAnchors
	lists       *certs.CRLs // as they are then
	outdated    []string    // CAs all of whose certificates are refused for it
}

// CAs are those of clients.
func (s *show) authorities(ctx context.Context, c *tlsConfig) (*certs.TrustAnchors, error) {
	source, end, err := c.WorkloadAPI.join(ctx, certs.Files{TrustAnchors: c.bindings()}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	m, err := source.Load()
	if errors.Is(err, fs.ErrNotExist) {
		err = cli.Hint(err, "name the file of the clients' CAs with --ca, or a server's configuration with --config")
	}
	if err == nil && m.TrustAnchors == nil {
		err = fmt.Errorf("%w: the configuration names none", certs.ErrNoTrustAnchors)
	}
	return m.TrustAnchors, errors.Join(err, end())
}

// server is who would identify the certificate, at that moment.
func (s *show) server(ctx context.Context, at time.Time) (*viewer, error) {
	c := defaultConfig()
	if s.config != "" {
		if err := c.load(s.config); err != nil {
			return nil, err
		}
	} else {
		c.TLS.ClientCA = s.ca
		for _, r := range s.rules {
			c.Identity = append(c.Identity, certs.Rule(r))
		}
	}
	identifier, err := c.identifier()
	if err != nil {
		return nil, err
	}
	authorities, err := s.authorities(ctx, &c.TLS)
	if err != nil {
		return nil, err
	}
	v := &viewer{identifier: identifier.Under(authorities), authorities: authorities}
	if v.lists, err = certs.LoadCRLs(authorities, nil, c.TLS.CRLs...); err != nil {
		return nil, err
	}
	if c.TLS.StaleCRLs != acceptStale {
		v.lists, v.outdated = v.lists.At(at)
	}
	return v, nil
}

// describeCertificate prints what stands in a certificate. Text from it is quoted.
func describeCertificate(out io.Writer, c *x509.Certificate, at time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name string, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("subject", "%q", c.Subject.String())
	line("issuer", "%q", c.Issuer.String())
	line("serial", "%x", c.SerialNumber)
	line("sha256", "%x", sha256.Sum256(c.Raw))
	line("spki", "%x", sha256.Sum256(c.RawSubjectPublicKeyInfo))
	line("valid", "%s to %s, %s", c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), validity(c, at))
	line("key", "%s", keyKind(c))
	line("usage", "%s", strings.Join(usages(c), ", "))
	for _, n := range sans(c) {
		line("name", "%s", n)
	}
	return w.Flush()
}

func validity(c *x509.Certificate, at time.Time) string {
	switch {
	case at.Before(c.NotBefore):
		return "not yet"
	case at.After(c.NotAfter):
		return "over"
	}
	return "for another " + c.NotAfter.Sub(at).Round(time.Minute).String()
}

func keyKind(c *x509.Certificate) string {
	switch key := c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "unknown"
}

// usages names what the certificate may be used for.
func usages(c *x509.Certificate) []string {
	var all []string
	if c.IsCA {
		all = append(all, "CA")
	}
	for _, u := range []struct {
		bit  x509.KeyUsage
		name string
	}{
		{x509.KeyUsageDigitalSignature, "digitalSignature"}, {x509.KeyUsageKeyEncipherment, "keyEncipherment"},
		{x509.KeyUsageCertSign, "keyCertSign"}, {x509.KeyUsageCRLSign, "cRLSign"},
	} {
		if c.KeyUsage&u.bit != 0 {
			all = append(all, u.name)
		}
	}
	for _, u := range c.ExtKeyUsage {
		switch u {
		case x509.ExtKeyUsageClientAuth:
			all = append(all, "clientAuth")
		case x509.ExtKeyUsageServerAuth:
			all = append(all, "serverAuth")
		case x509.ExtKeyUsageAny:
			all = append(all, "any")
		default:
			all = append(all, "another extended usage")
		}
	}
	if len(all) == 0 {
		return []string{"none"}
	}
	return all
}

// sans are the subject alternative names.
func sans(c *x509.Certificate) []string {
	var all []string
	for _, u := range c.URIs {
		all = append(all, fmt.Sprintf("URI %q", u))
	}
	for _, n := range c.DNSNames {
		all = append(all, fmt.Sprintf("DNS %q", n))
	}
	for _, n := range c.EmailAddresses {
		all = append(all, fmt.Sprintf("mail %q", n))
	}
	for _, ip := range c.IPAddresses {
		all = append(all, "IP "+ip.String())
	}
	return all
}

// conclude says whom a server sees in the chain, or why nobody.
func (v *viewer) conclude(out io.Writer, chain []*x509.Certificate, at time.Time) error {
	no := func(format string, args ...any) error {
		fmt.Fprintf(out, "no identity: "+format+"\n", args...)
		return cli.ErrDenied
	}
	verified, failure := shakeHands(chain, v.authorities, at)
	if failure != nil {
		return no("the handshake fails: %v", failure)
	}
	caller, err := httpapi.CallerFromChain(v.identifier, verified[0])
	if refused, ok := errors.AsType[*certs.IdentityError](err); ok {
		return no("%s (%s)", refused.Detail, refused.Reason)
	}
	if err != nil {
		return err
	}
	why, err := v.whyRevoked(verified[0])
	if err != nil {
		return err
	}
	if why != "" {
		return no("%s (%s)", why, policy.ReasonCredentialRevoked)
	}
	fmt.Fprintf(out, "identity %s, by the rule %s, certified by %q\n",
		caller.Identity.Name, caller.Identity.Rule, verified[0][len(verified[0])-1].Subject.String())
	return nil
}

// maxSerial is how long a serial number may be, in bytes (RFC 5280, section 4.1.2.2).
const maxSerial = 20

// whyRevoked says what a CRL has against a certificate of the chain, empty if
// nothing.
func (v *viewer) whyRevoked(chain []*x509.Certificate) (string, error) {
	credentials, err := certs.CredentialsOf(chain)
	if err != nil {
		return "", err
	}
	for i, c := range credentials {
		if v.lists.Revoked(hex.EncodeToString(c.IssuerSPKI[:]), c.Serial) {
			return v.explainRevoked(chain[i], chain[min(i+1, len(chain)-1)].Subject.String()), nil
		}
	}
	return "", nil
}

// explainRevoked tells a certificate that a list names from one that is refused for its
// list.
func (v *viewer) explainRevoked(cert *x509.Certificate, issuer string) string {
	if n := len(cert.SerialNumber.Bytes()); n > maxSerial {
		return fmt.Sprintf("the serial number has %d bytes of at most %d, so that no CRL can name it; "+
			"have another certificate issued", n, maxSerial)
	}
	if slices.Contains(v.outdated, issuer) {
		return fmt.Sprintf("the CRL of %.120q is stale, so that it may miss revocations; "+
			"have the CA publish the next one, or set tls.stale-crls to accept", issuer)
	}
	return fmt.Sprintf("the CRL of %.120q revokes the certificate %.120q; have another one issued", issuer, cert.Subject.String())
}
