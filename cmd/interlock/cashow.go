package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/certs"
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
		Long: `Say what stands in a certificate, whether the authorities of clients have issued it, and
which identity a server sees in it, or why none. FILE begins with the client's certificate;
intermediate ones may follow. Exit status 1 means that it has no identity.`,
		Example: "  interlock ca show .interlock/alice.crt\n  interlock ca show client.crt --config interlock.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.run(cmd.OutOrStdout(), args[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.ca, "ca", filepath.Join(devFolder, certs.AuthorityCertFile), "`file` with the authorities of clients")
	f.StringVar(&s.config, "config", "", "configuration `file` of a server, for its authorities and rules")
	f.StringSliceVar(&s.rules, "identity", nil, "`rules` after the SPIFFE ID, such as dns,email")
	f.StringVar(&s.at, "at", "", "`time` to verify at, as 2027-01-31T12:00:00Z (default now)")
	cmd.MarkFlagsMutuallyExclusive("config", "ca")
	cmd.MarkFlagsMutuallyExclusive("config", "identity")
	return cmd
}

func (s *show) run(out io.Writer, path string) error {
	at := time.Now()
	if s.at != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, s.at); err != nil {
			return fmt.Errorf("--at %q is no time of the form 2027-01-31T12:00:00Z", s.at)
		}
	}
	identifier, authorities, err := s.server()
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
	return conclude(out, identifier, authorities, chain, at)
}

// server is who would identify the certificate.
func (s *show) server() (*certs.Identifier, *certs.Authorities, error) {
	c := defaultConfig()
	if s.config != "" {
		if err := c.load(s.config); err != nil {
			return nil, nil, err
		}
	} else {
		c.TLS.ClientCA = s.ca
		for _, r := range s.rules {
			c.Identity = append(c.Identity, certs.Rule(r))
		}
	}
	identifier, err := certs.NewIdentifier(c.Identity...)
	if err != nil {
		return nil, nil, err
	}
	authorities, err := certs.LoadAuthorities(c.TLS.bindings()...)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, hint(err, "name the file of the clients' authorities with --ca, or a server's configuration with --config")
	}
	if err != nil {
		return nil, nil, err
	}
	return identifier.Under(authorities), authorities, nil
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
		all = append(all, "authority")
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

// conclude verifies the chain as a server does, and says who it speaks for.
func conclude(out io.Writer, id *certs.Identifier, a *certs.Authorities, chain []*x509.Certificate, at time.Time) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	verified, err := chain[0].Verify(x509.VerifyOptions{
		Roots: a.Pool(), Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		fmt.Fprintln(out, "no identity: the handshake fails:", err)
		return errDenied
	}
	found, err := id.Identify(verified[0])
	if err != nil {
		fmt.Fprintln(out, "no identity:", err)
		return errDenied
	}
	fmt.Fprintf(out, "identity %s, by the rule %s, certified by %q\n", found.Name, found.Rule, verified[0][len(verified[0])-1].Subject.String())
	return nil
}
