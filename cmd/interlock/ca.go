package main

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

func caCommand() *cobra.Command {
	issue := cli.Group(&cobra.Command{Use: "issue", Short: "Issue a certificate"}, issueServerCommand(), issueClientCommand())
	return cli.Group(&cobra.Command{
		Use: "ca", Short: "Make a development CA and its certificates",
		Long: `Make a CA for development and tests, and certificates of it: ECDSA P-256, short
lives, keys readable by their owner alone, nothing overwritten without --force.`,
	}, caInitCommand(), issue, caRenewCommand(), caRevokeCommand(), caShowCommand())
}

func dirFlag(cmd *cobra.Command, dir *string, force *bool) {
	cmd.Flags().StringVar(dir, "dir", cli.DevFolder, "`folder` of the CA and of what it issues")
	cmd.Flags().BoolVar(force, "force", false, "overwrite what is there")
}

func caInitCommand() *cobra.Command {
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
				above, err := loadAuthority(under)
				if err != nil {
					return err
				}
				o.Issuer = above
			}
			a, err := devca.Init(dir, o)
			if err != nil {
				return hintForce(err)
			}
			return wrote(cmd, filepath.Join(dir, devca.CertFile), a.Certificate().NotAfter)
		},
	}
	dirFlag(cmd, &dir, &force)
	cmd.Flags().StringVar(&under, "under", "", "`folder` of the CA that certifies it: it is an intermediate one then")
	cmd.Flags().StringVar(&o.Name, "name", "", "`name` of the CA (default interlock development CA)")
	cmd.Flags().DurationVar(&o.Lifetime, "lifetime", devca.DefaultLifetime, "how long it is valid")
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
		Use: "server NAME", Short: "Issue a server's certificate: NAME.crt and NAME.key", Args: cobra.ExactArgs(1),
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
	cmd.Flags().DurationVar(&leaf.Lifetime, "lifetime", devca.DefaultLeafLifetime, "how long it is valid")
	return cmd
}

func issueClientCommand() *cobra.Command {
	var (
		dir   string
		force bool
		leaf  devca.ClientOptions
	)
	cmd := &cobra.Command{
		Use: "client NAME", Short: "Issue a client's certificate: NAME.crt and NAME.key", Args: cobra.ExactArgs(1),
		Example: "  interlock ca issue client carol --spiffe-id spiffe://interlock.test/carol",
		RunE: func(cmd *cobra.Command, args []string) error {
			if leaf.SPIFFEID == "" && len(leaf.DNSNames) == 0 {
				leaf.SPIFFEID = devTrustDomain + args[0]
			}
			return issueLeaf(cmd, dir, args[0], force, func(a *devca.CA) (devca.KeyPair, error) { return a.IssueClient(leaf) })
		},
	}
	dirFlag(cmd, &dir, &force)
	cmd.Flags().StringVar(&leaf.SPIFFEID, "spiffe-id", "", "SPIFFE `ID` (default "+devTrustDomain+"NAME)")
	cmd.Flags().StringSliceVar(&leaf.DNSNames, "dns", nil, "DNS `name`, for clients without a SPIFFE ID")
	cmd.Flags().DurationVar(&leaf.Lifetime, "lifetime", devca.DefaultLeafLifetime, "how long it is valid")
	return cmd
}

func loadAuthority(dir string) (*devca.CA, error) {
	authority, err := devca.Load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cli.Hint(err, "interlock ca init --dir %s makes a CA", dir)
	}
	return authority, err
}

func issueLeaf(cmd *cobra.Command, dir, name string, force bool, issue func(*devca.CA) (devca.KeyPair, error)) error {
	authority, err := loadAuthority(dir)
	if err != nil {
		return err
	}
	if filepath.Base(name) != name || !filepath.IsLocal(name) {
		return fmt.Errorf("%q cannot name a file in the folder; give a plain name such as alice", name)
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

func caRenewCommand() *cobra.Command {
	var (
		dir      string
		lifetime time.Duration
	)
	cmd := &cobra.Command{
		Use: "renew FILE …", Short: "Issue certificates anew, with another key and the same names", Args: cobra.MinimumNArgs(1),
		Long: `Issue certificates anew, with another key and the same names: NAME.crt and the NAME.key
beside it are replaced. What stood there before is good until its own end; interlock ca
revoke ends it at once.`,
		Example: "  interlock ca renew .interlock/alice.crt",
		RunE: func(cmd *cobra.Command, args []string) error {
			authority, err := loadAuthority(dir)
			if err != nil {
				return err
			}
			leaves, err := readLeaves(args)
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
	cmd.Flags().DurationVar(&lifetime, "lifetime", 0, "how long it is valid (default as before)")
	return cmd
}

func hintForce(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return cli.Hint(err, "--force overwrites it")
	}
	return err
}

func wrote(cmd *cobra.Command, path string, until time.Time) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "wrote %s, valid until %s\n", path, until.UTC().Format(time.RFC3339))
	return err
}
