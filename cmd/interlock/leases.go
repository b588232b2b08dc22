package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func leasesCommand() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use: "leases [PRINCIPAL]", Short: "List the operations in flight", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			principal := ""
			if len(args) == 1 {
				principal = args[0]
			}
			leases, err := client.Leases(cmd.Context(), principal)
			if err != nil {
				return hintFailure(err)
			}
			out := cmd.OutOrStdout()
			for i := range leases {
				l := &leases[i]
				state := ""
				if l.Revoked != 0 {
					state = fmt.Sprintf(", revoked at %d", l.Revoked)
				}
				fmt.Fprintf(out, "%v, since %s%s\n", l, l.Since.Local().Format(time.TimeOnly), state)
			}
			fmt.Fprintf(out, "%d in flight\n", len(leases))
			return nil
		},
	}
	c.adminFlags(cmd)
	return cmd
}
