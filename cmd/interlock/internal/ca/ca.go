// Package ca is the command interlock ca: a development CA, its certificates, and the identity that a server finds in a certificate.
package ca

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// Command returns the group of commands about a development CA.
func Command() *cobra.Command {
	issue := cli.Group(&cobra.Command{Use: "issue", Short: "Issue a certificate"}, issueServerCommand(), issueClientCommand())
	return cli.Group(&cobra.Command{
		Use: "ca", Short: "Make a development CA and issue certificates",
		Long: `Make a CA for development and tests, and issue certificates. Keys are ECDSA P-256,
and only their owner can read them. Certificates are short-lived. No file is
overwritten without --force.`,
	}, initCommand(), issue, renewCommand(), revokeCommand(), showCommand())
}

func dirFlag(cmd *cobra.Command, dir *string, force *bool) {
	cmd.Flags().StringVar(dir, "dir", cli.DevFolder, "`folder` of the CA and of the certificates that it issues")
	cmd.Flags().BoolVar(force, "force", false, "overwrite existing files")
}

func initCommand() *cobra.Command {
	var (
		dir, under string
		force      bool
		o          devca.Options
	)
	cmd := &cobra.Command{
		Use: "init", Short: "Make a CA: ca.crt and ca.key", Args: cobra.NoArgs,
		Example: "  interlock ca init\n  interlock ca init --dir team --under .interlock",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Force = force
			if under != "" {
				issuer, err := loadCA(under)
				if err != nil {
					return err
				}
				o.Issuer = issuer
			}
			a, err := devca.Init(dir, o)
			if err != nil {
				return hintForce(err)
			}
			return wrote(cmd, filepath.Join(dir, devca.CertFile), a.Certificate().NotAfter)
		},
	}
	dirFlag(cmd, &dir, &force)
	cmd.Flags().StringVar(&under, "under", "", "`folder` of the CA that issues an intermediate CA")
	cmd.Flags().StringVar(&o.Name, "name", "", "`name` of the CA (default interlock development CA)")
	cmd.Flags().DurationVar(&o.Lifetime, "lifetime", devca.DefaultLifetime, "`duration` of validity")
	return cmd
}

func issueServerCommand() *cobra.Command {
	var (
		dir   string
		force bool
		leaf  devca.ServerOptions
		names []string
	)
	cmd := &cobra.Command{
		Use: "server NAME", Short: "Issue a server's certificate: NAME.crt and NAME.key", Args: cli.Needs("NAME"),
		Example: "  interlock ca issue server server --host localhost --host 127.0.0.1",
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, n := range names {
				if ip := net.ParseIP(n); ip != nil {
					leaf.IPs = append(leaf.IPs, ip)
				} else {
					leaf.DNSNames = append(leaf.DNSNames, n)
				}
			}
			return issueLeaf(cmd, dir, args[0], force, func(a *devca.CA) (devca.KeyPair, error) { return a.IssueServer(leaf) })
		},
	}
	dirFlag(cmd, &dir, &force)
	cmd.Flags().StringSliceVar(&names, "host", nil, "`host` names and addresses (default localhost, 127.0.0.1, ::1)")
	cmd.Flags().DurationVar(&leaf.Lifetime, "lifetime", devca.DefaultLeafLifetime, "`duration` of validity")
	return cmd
}

func issueClientCommand() *cobra.Command {
	var (
		dir   string
		force bool
		leaf  devca.ClientOptions
	)
	cmd := &cobra.Command{
		Use: "client NAME", Short: "Issue a client's certificate: NAME.crt and NAME.key", Args: cli.Needs("NAME"),
		Example: "  interlock ca issue client carol --spiffe-id spiffe://interlock.test/carol",
		RunE: func(cmd *cobra.Command, args []string) error {
			if leaf.SPIFFEID == "" && len(leaf.DNSNames) == 0 {
				leaf.SPIFFEID = cli.DevTrustDomain + args[0]
			}
			return issueLeaf(cmd, dir, args[0], force, func(a *devca.CA) (devca.KeyPair, error) { return a.IssueClient(leaf) })
		},
	}
	dirFlag(cmd, &dir, &force)
	cmd.Flags().StringVar(&leaf.SPIFFEID, "spiffe-id", "", "SPIFFE `ID` (default "+cli.DevTrustDomain+"NAME)")
	cmd.Flags().StringSliceVar(&leaf.DNSNames, "dns", nil, "DNS `name` of a client without a SPIFFE ID")
	cmd.Flags().DurationVar(&leaf.Lifetime, "lifetime", devca.DefaultLeafLifetime, "`duration` of validity")
	return cmd
}

// loadCA loads the CA from the folder.
func loadCA(dir string) (*devca.CA, error) {
	authority, err := devca.Load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cli.Hint(err, "interlock ca init --dir %s makes a CA", dir)
	}
	return authority, err
}

// issueLeaf issues a certificate by the CA in the folder, and writes it there under that name.
func issueLeaf(cmd *cobra.Command, dir, name string, force bool, issue func(*devca.CA) (devca.KeyPair, error)) error {
	authority, err := loadCA(dir)
	if err != nil {
		return err
	}
	if filepath.Base(name) != name || !filepath.IsLocal(name) {
		return fmt.Errorf("%q cannot name a file in the folder; use a plain name such as alice", name)
	}
	pair, err := issue(authority)
	if err != nil {
		return err
	}
	return writeLeaf(cmd, pair, dir, name, force)
}

func writeLeaf(cmd *cobra.Command, pair devca.KeyPair, dir, name string, force bool) error {
	if err := pair.Write(dir, name, force); err != nil {
		return hintForce(err)
	}
	parsed, err := certs.ParseCertificates(name+".crt", pair.CertPEM)
	if err != nil {
		return err
	}
	return wrote(cmd, filepath.Join(dir, name+".crt"), parsed[0].NotAfter)
}

func renewCommand() *cobra.Command {
	var (
		dir      string
		lifetime time.Duration
	)
	cmd := &cobra.Command{
		Use: "renew FILE …", Short: "Replace certificates by new ones with the same names", Args: cli.AtLeastOne("FILE"),
		Long: `Issue new certificates with the same names and with new keys. NAME.crt and NAME.key are
replaced. The old certificate stays valid until it expires; interlock ca revoke ends it at
once.`,
		Example: "  interlock ca renew .interlock/alice.crt",
		RunE: func(cmd *cobra.Command, args []string) error {
			authority, err := loadCA(dir)
			if err != nil {
				return err
			}
			leaves, err := cli.ReadLeaves(args)
			if err != nil {
				return err
			}
			for i, leaf := range leaves {
				pair, err := authority.Renew(leaf, lifetime)
				if err != nil {
					return fmt.Errorf("%s: %w", args[i], err)
				}
				name := strings.TrimSuffix(filepath.Base(args[i]), ".crt")
				if err := writeLeaf(cmd, pair, filepath.Dir(args[i]), name, true); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", cli.DevFolder, "`folder` of the CA")
	cmd.Flags().DurationVar(&lifetime, "lifetime", 0, "`duration` of validity (default that of the old certificate)")
	return cmd
}

// hintForce adds a hint to the error of a file that exists.
func hintForce(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return cli.Hint(err, "--force overwrites the file")
	}
	return err
}

func wrote(cmd *cobra.Command, path string, until time.Time) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "wrote %s, valid until %s\n", path, until.UTC().Format(time.RFC3339))
	return err
}
