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

// change is a command that changes the policy on the server.
type change struct {
	connection
	cli.Output
	spec       policy.ChangeSpec
	expires    time.Duration
	wait       time.Duration
	grace      time.Duration
	graceGiven func() bool // nil without the flag
	dry        bool
	force      bool

	ignoreNotFound    bool // revoke only, as the next
	allowStillGranted bool
}

func (c *change) updateFlags(cmd *cobra.Command) {
	c.adminFlags(cmd)
	c.AddFlag(cmd)
	f := cmd.Flags()
	f.DurationVar(&c.wait, "wait", 10*time.Second, "how long to wait until it is quiesced")
	f.BoolVar(&c.dry, "dry-run", false, "show what would change, and change nothing")
	f.BoolVar(&c.force, "force", false, "allow to take full rights from oneself, or from all who have connected")
}

func (c *change) reasonFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.spec.Reason, "reason", "", "why, for the record")
}

func (c *change) graceFlag(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&c.grace, "grace", 0, "cancel forbidden operations after this `time`")
	c.graceGiven = func() bool { return cmd.Flags().Changed("grace") }
}

// setHolder takes principal, or pattern, and role from the arguments.
func (c *change) setHolder(args []string) {
	if strings.Contains(args[0], "*") {
		c.spec.Principals = args[0]
	} else {
		c.spec.Principal = args[0]
	}
	c.spec.Role = policy.RoleRef{Name: args[1]}
}

func (c *change) options() client.UpdateOptions {
	o := client.UpdateOptions{Wait: &c.wait, DryRun: c.dry, Force: c.force}
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
