package admin

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/certs/atomicfile"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// backupFile describes a written backup.
type backupFile struct {
	File   string `json:"file"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func backupCommand() *cobra.Command {
	var c connection
	var o cli.Output
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Copy the store of the running server to a file", Args: cli.Needs("FILE"),
		Long: `Copy a snapshot of the running server's store to a file. Updates continue meanwhile. The
command prints the SHA-256 of the file. It does not overwrite an existing file.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			sum, size, err := c.backup(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			written := backupFile{File: args[0], Bytes: size, SHA256: sum}
			return o.Answer(cmd.OutOrStdout(), true, &written, fmt.Sprintf("%s: %d bytes, sha256 %s", args[0], size, sum))
		},
	}
	c.adminFlags(cmd)
	o.AddFlag(cmd)
	return cmd
}

// backup writes a temporary file in the folder of path, and renames it when it is complete.
func (c *connection) backup(ctx context.Context, path string) (sum string, size int64, err error) {
	if _, err := os.Lstat(path); err == nil {
		return "", 0, fmt.Errorf("%s exists already", path)
	}
	admin, err := c.client()
	if err != nil {
		return "", 0, err
	}
	part, err := atomicfile.New(path, modePrivate)
	if err != nil {
		return "", 0, err
	}
	defer part.Discard()
	if sum, size, err = admin.Backup(ctx, part); err != nil {
		return "", 0, hintFailure(err)
	}
	return sum, size, part.CommitNew()
}
