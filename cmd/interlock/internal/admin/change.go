package admin

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// change is a command that updates the policy of the server: grant, revoke or policy apply.
type change struct {
	connection
	cli.Output
	spec           policy.ChangeSpec
	expires        time.Duration
	wait           time.Duration
	grace          time.Duration
	graceGiven     func() bool // nil if the command has no flag --grace
	dry            bool
	force, forceCA bool

	// The flags of revoke.
	ignoreNotFound    bool
	allowStillGranted bool
}

func (c *change) updateFlags(cmd *cobra.Command) {
	c.adminFlags(cmd)
	c.AddFlag(cmd)
	f := cmd.Flags()
	f.DurationVar(&c.wait, "wait", 10*time.Second, "how long to wait until the update is quiesced")
	f.BoolVar(&c.dry, "dry-run", false, "show what would change, and change nothing")
	f.BoolVar(&c.force, "force", false, "allow an update that takes full rights from yourself, or from all principals that have connected")
}

func (c *change) reasonFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.spec.Reason, "reason", "", "reason, for the log")
}

func (c *change) graceFlag(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&c.grace, "grace", 0, "cancel forbidden operations after this `time`")
	c.graceGiven = func() bool { return cmd.Flags().Changed("grace") }
}

// setHolder sets the principal or the pattern, and the role, from the arguments.
func (c *change) setHolder(args []string) {
	if strings.Contains(args[0], "*") {
		c.spec.Principals = args[0]
	} else {
		c.spec.Principal = args[0]
	}
	c.spec.Role = policy.RoleRef{Name: args[1]}
}

func (c *change) options() client.UpdateOptions {
	o := client.UpdateOptions{Wait: &c.wait, DryRun: c.dry, Force: c.force, ForceCA: c.forceCA}
	if c.graceGiven != nil && c.graceGiven() {
		o.Grace = &c.grace
	}
	return o
}

func (c *change) apply(cmd *cobra.Command) error {
	if _, err := c.spec.Change(); err != nil {
		return err
	}
	admin, err := c.client()
	if err != nil {
		return err
	}
	result, err := admin.Update(cmd.Context(), []policy.ChangeSpec{c.spec}, c.options())
	if err != nil {
		return hintFailure(err)
	}
	d, err := c.print(cmd, admin, result)
	if err != nil || c.spec.Op != policy.OpRevoke {
		return errors.Join(err, unquiesced(result))
	}
	return errors.Join(c.checkRevoked(cmd, result, d), unquiesced(result))
}
