package ca

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
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi"
)

// show is the command that shows the identity in a certificate.
type show struct {
	ca     string
	config string
	rules  []string
	at     string
}

func showCommand() *cobra.Command {
	s := &show{}
	cmd := &cobra.Command{
		Use: "show FILE", Short: "Show a certificate and the identity that a server sees in it", Args: cli.Needs("FILE"),
		Long: `Show a client's certificate and the identity that a server sees in it. If there is no
identity, say why and what to do. FILE begins with the client's certificate; intermediate
certificates may follow. Exit status 1 means that the certificate has no identity.`,
		Example: "  interlock ca show .interlock/alice.crt\n  interlock ca show client.crt --config interlock.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.run(cmd.Context(), cmd.OutOrStdout(), args[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.ca, "ca", filepath.Join(cli.DevFolder, devca.CertFile), "`file` with the CAs of clients")
	f.StringVar(&s.config, "config", "", "configuration `file` of a server, with its CAs, rules and CRLs")
	f.StringSliceVar(&s.rules, "identity", nil, "`rules` after the SPIFFE ID, such as dns,email")
	f.StringVar(&s.at, "at", "", "`time` of the verification, such as 2027-01-31T12:00:00Z (default now)")
	cmd.MarkFlagsMutuallyExclusive("config", "ca")
	cmd.MarkFlagsMutuallyExclusive("config", "identity")
	return cmd
}

func (s *show) run(ctx context.Context, out io.Writer, path string) error {
	at := time.Now()
	if s.at != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, s.at); err != nil {
			return fmt.Errorf("--at %q is not a time of the form 2027-01-31T12:00:00Z", s.at)
		}
	}
	v, err := s.viewer(ctx, at)
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
	return v.conclude(out, chain, at)
}

// viewer identifies a client at a moment as a server does.
type viewer struct {
	identifier *certs.Identifier
	anchors    *certs.TrustAnchors
	crls       *certs.CRLs
	stale      []string // CAs whose certificates are rejected because their CRL is stale
}

// trustAnchors loads the CAs of clients.
func (s *show) trustAnchors(ctx context.Context, c *config.TLS) (*certs.TrustAnchors, error) {
	source, closeSource, err := c.WorkloadAPI.Join(ctx, certs.Files{TrustAnchors: c.TrustAnchors()}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	m, err := source.Load()
	if errors.Is(err, fs.ErrNotExist) {
		err = cli.Hint(err, "name the file of the clients' CAs with --ca, or a server's configuration with --config")
	}
	if err == nil && m.TrustAnchors == nil {
		err = fmt.Errorf("%w: none is configured", certs.ErrNoTrustAnchors)
	}
	return m.TrustAnchors, errors.Join(err, closeSource())
}

// viewer loads the rules, CAs and CRLs of a server.
func (s *show) viewer(ctx context.Context, at time.Time) (*viewer, error) {
	c := config.Default()
	if s.config != "" {
		if err := c.Load(s.config); err != nil {
			return nil, err
		}
	} else {
		c.TLS.ClientCA = s.ca
		for _, r := range s.rules {
			c.Identity = append(c.Identity, certs.Rule(r))
		}
	}
	identifier, err := c.Identifier()
	if err != nil {
		return nil, err
	}
	anchors, err := s.trustAnchors(ctx, &c.TLS)
	if err != nil {
		return nil, err
	}
	v := &viewer{identifier: identifier.Under(anchors), anchors: anchors}
	if v.crls, err = certs.LoadCRLs(anchors, nil, c.TLS.CRLs...); err != nil {
		return nil, err
	}
	if !c.TLS.AcceptsStaleCRLs() {
		v.crls, v.stale = v.crls.At(at)
	}
	return v, nil
}

// describeCertificate prints the fields of a certificate. It quotes text from the certificate.
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

// usages names the key usages and extended key usages of the certificate.
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

// sans returns the subject alternative names.
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

// conclude prints the identity in the chain. If there is none, it prints the reason and returns [cli.ErrDenied].
func (v *viewer) conclude(out io.Writer, chain []*x509.Certificate, at time.Time) error {
	no := func(format string, args ...any) error {
		fmt.Fprintf(out, "no identity: "+format+"\n", args...)
		return cli.ErrDenied
	}
	verified, failure := verify(chain, v.anchors, at)
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

// maxSerial is the maximum length of a serial number, in bytes (RFC 5280, section 4.1.2.2).
const maxSerial = 20

// whyRevoked says which certificate of the chain is revoked and why. It returns "" if none is.
func (v *viewer) whyRevoked(chain []*x509.Certificate) (string, error) {
	credentials, err := certs.CredentialsOf(chain)
	if err != nil {
		return "", err
	}
	for i, c := range credentials {
		if v.crls.Revoked(hex.EncodeToString(c.IssuerSPKI[:]), c.Serial) {
			return v.explainRevoked(chain[i], chain[min(i+1, len(chain)-1)].Subject.String()), nil
		}
	}
	return "", nil
}

// explainRevoked distinguishes a certificate that the CRL names from one that is rejected because the CRL is stale.
func (v *viewer) explainRevoked(cert *x509.Certificate, issuer string) string {
	if n := len(cert.SerialNumber.Bytes()); n > maxSerial {
		return fmt.Sprintf("the serial number has %d bytes of at most %d, so that no CRL can name it; "+
			"have another certificate issued", n, maxSerial)
	}
	if slices.Contains(v.stale, issuer) {
		return fmt.Sprintf("the CRL of %.120q is stale, so that it may miss revocations; "+
			"have the CA publish the next one, or set tls.stale-crls to accept", issuer)
	}
	return fmt.Sprintf("the CRL of %.120q revokes the certificate %.120q; have another one issued", issuer, cert.Subject.String())
}
