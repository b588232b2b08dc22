package admin

import (
	"bufio"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

func diffCommand() *cobra.Command {
	var c connection
	var o cli.Output
	var from string
	cmd := &cobra.Command{
		Use: "diff FILE", Short: "Say what applying a policy file would change", Args: cli.Needs("FILE"),
		Long: "Say what applying a policy file would change on the server, or in the policy file\nthat --from names. Exit status 1 means that there are differences.",
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := loadPolicy(cmd, args[0])
			if err != nil {
				return err
			}
			before, err := diffBase(cmd, &c, from)
			if err != nil {
				return err
			}
			changes := policyfile.Diff(before.AllRoles(), before.AllGrants(), to)
			lines, err := policyfile.DescribeChanges(before.View(0), changes)
			if err != nil {
				return err
			}
			err = o.Write(cmd.OutOrStdout(), specsOf(changes), func(out io.Writer) error { return printLines(out, lines) })
			if err == nil && len(changes) > 0 {
				return cli.ErrDenied
			}
			return err
		},
	}
	c.adminFlags(cmd)
	o.AddFlag(cmd)
	cmd.Flags().StringVar(&from, "from", "", "policy `file` to compare with, in place of the server's policy")
	return cmd
}

func diffBase(cmd *cobra.Command, c *connection, from string) (*policyfile.File, error) {
	if from != "" {
		return loadPolicy(cmd, from)
	}
	admin, err := c.client()
	if err != nil {
		return nil, err
	}
	file, err := readServerPolicy(cmd, admin, c.timeout)
	return file, hintFailure(err)
}

// specsOf returns changes in the form of the API.
func specsOf(changes []policy.Change) client.Changes {
	specs := make([]policy.ChangeSpec, 0, len(changes))
	for _, c := range changes {
		specs = append(specs, policy.SpecOfChange(c))
	}
	return client.Changes{Changes: specs}
}

func printLines(out io.Writer, lines []string) error {
	w := bufio.NewWriter(out)
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	if len(lines) == 0 {
		fmt.Fprintln(w, "no differences")
	}
	return w.Flush()
}
