package ca

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/certs/atomicfile"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// crlFile is the name of the CRL in the folder of its CA.
const crlFile = "ca.crl"

func revokeCommand() *cobra.Command {
	var (
		dir  string
		next time.Duration
	)
	cmd := &cobra.Command{
		Use: "revoke [FILE …]", Short: "Revoke certificates in the CRL of the CA, " + crlFile,
		Long: `Write the next CRL of the CA. It revokes these certificates and all certificates that the
last CRL revokes. Without a FILE only its number and its dates change. A server that has
the CRL in tls.crls reloads it at once.`,
		Example: "  interlock ca revoke .interlock/alice.crt",
		RunE: func(cmd *cobra.Command, args []string) error {
			authority, err := loadCA(dir)
			if err != nil {
				return err
			}
			path := filepath.Join(dir, crlFile)
			before, err := os.ReadFile(path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			leaves, err := cli.ReadLeaves(args)
			if err != nil {
				return err
			}
			crl, err := authority.Revoke(before, next, leaves...)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if err := atomicfile.Replace(atomicfile.File{Path: path, Data: crl, Mode: 0o600}); err != nil {
				return err
			}
			return wrote(cmd, path, time.Now().Add(next))
		},
	}
	cmd.Flags().StringVar(&dir, "dir", cli.DevFolder, "`folder` of the CA")
	cmd.Flags().DurationVar(&next, "next", 7*24*time.Hour, "`duration` until the next CRL is due")
	return cmd
}
