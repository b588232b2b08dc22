package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// crlFile is the CA's CRL, in its folder.
const crlFile = "ca.crl"

func caRevokeCommand() *cobra.Command {
	var (
		dir  string
		next time.Duration
	)
	cmd := &cobra.Command{
		Use: "revoke [FILE …]", Short: "Revoke certificates: writes the CA's CRL, " + crlFile,
		Long: `Write the next CRL of the CA. It revokes these certificates and all that the last CRL revokes.
Without a FILE only its number and its dates change. A server that has the CRL in tls.crls
reloads it at once.`,
		Example: "  interlock ca revoke .interlock/alice.crt",
		RunE: func(cmd *cobra.Command, args []string) error {
			authority, err := loadAuthority(dir)
			if err != nil {
				return err
			}
			path := filepath.Join(dir, crlFile)
			before, err := os.ReadFile(path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			leaves, err := readLeaves(args)
			if err != nil {
				return err
			}
			crl, err := authority.Revoke(before, next, leaves...)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if err := writeFile(path, crl, true); err != nil {
				return err
			}
			return wrote(cmd, path, time.Now().Add(next))
		},
	}
	cmd.Flags().StringVar(&dir, "dir", cli.DevFolder, "`folder` of the CA")
	cmd.Flags().DurationVar(&next, "next", 7*24*time.Hour, "`time` until the next CRL is due")
	return cmd
}

// readLeaves reads the first certificate of each file.
func readLeaves(paths []string) ([]*x509.Certificate, error) {
	var leaves []*x509.Certificate
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		chain, err := certs.ParseCertificates(path, text)
		if err != nil {
			return nil, err
		}
		leaves = append(leaves, chain[0])
	}
	return leaves, nil
}
