package admin

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

func grantCommand() *cobra.Command {
	c := &change{spec: policy.ChangeSpec{Op: policy.OpGrant}}
	cmd := &cobra.Command{
		Use: "grant PRINCIPAL ROLE", Short: "Give a role to a principal", Args: cli.Needs("PRINCIPAL", "ROLE"),
		Long: `Give a role to a principal, or to all principals that match a pattern. The command prints
the receipt: the revision, and the operations that the update ended.`,
		Example: "  interlock grant spiffe://interlock.test/bob order-writer --within 'orders/eu/**' --for 8h --reason 'on call'",
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.expires > 0 {
				c.spec.Expires = time.Now().Add(c.expires).UTC().Format(time.RFC3339)
			}
			c.setHolder(args)
			return c.apply(cmd)
		},
	}
	c.updateFlags(cmd)
	c.reasonFlag(cmd)
	cmd.Flags().StringSliceVar((*[]string)(&c.spec.Within), "within", nil, "limit the grant to resources that match the `pattern`")
	cmd.ValidArgsFunction = c.complete(principalNames, roleNames)
	cmd.Flags().DurationVar(&c.expires, "for", 0, "let the grant expire after this `time`")
	return cmd
}
