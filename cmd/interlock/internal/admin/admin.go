// Package admin has the client commands of interlock. They change the policy of a server,
// ask it for decisions, run a command under a lease, and read its policy, log, leases and
// store. The commands restore and store work without a server.
package admin

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// Commands returns the client commands.
func Commands() []*cobra.Command {
	return []*cobra.Command{
		checkCommand(), explainCommand(), grantCommand(), revokeCommand(), getCommand(), policyCommand(),
		logCommand(), leaseCommand(), leasesCommand(), backupCommand(), restoreCommand(), storeCommand(),
	}
}

// reject prints why an answer is negative to standard error, and returns [cli.ErrDenied].
func reject(cmd *cobra.Command, err error, hint string) error {
	fmt.Fprintln(cmd.ErrOrStderr(), "error:", err)
	fmt.Fprintln(cmd.ErrOrStderr(), "hint: ", hint)
	return cli.ErrDenied
}
