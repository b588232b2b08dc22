package admin

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

func leasesCommand() *cobra.Command {
	var c connection
	var o cli.Output
	cmd := &cobra.Command{
		Use: "leases [PRINCIPAL]", Short: "List the operations in flight", Args: cli.AtMostOne("PRINCIPAL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			admin, err := c.client()
			if err != nil {
				return err
			}
			principal := ""
			if len(args) == 1 {
				principal = args[0]
			}
			leases, err := admin.Operations(cmd.Context(), principal)
			if err != nil {
				return hintFailure(err)
			}
			return o.Write(cmd.OutOrStdout(), &client.Operations{Leases: leases}, func(out io.Writer) error {
				return printLeases(out, leases)
			})
		},
	}
	c.adminFlags(cmd)
	o.AddFlag(cmd)
	cmd.ValidArgsFunction = c.complete(principalNames)
	return cmd
}

func printLeases(out io.Writer, leases []client.Operation) error {
	w := bufio.NewWriter(out)
	for i := range leases {
		l := &leases[i]
		state := ""
		if l.Revoked != 0 {
			state = fmt.Sprintf(", revoked at %d", l.Revoked)
		}
		fmt.Fprintf(w, "%v, since %s%s\n", l, l.Since.Local().Format(time.TimeOnly), state)
	}
	fmt.Fprintf(w, "%d in flight\n", len(leases))
	return w.Flush()
}
