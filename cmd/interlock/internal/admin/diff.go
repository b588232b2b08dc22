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
		Use: "diff FILE", Short: "Show what applying a policy file would change", Args: cli.Needs("FILE"),
		Long: "Show what applying a policy file would change on the server, or in the policy file of\n--from. Exit status 1 means that there are differences.",
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := loadPolicy(cmd, args[0])
			if err != nil {
				return err
			}
			before, err := diffBase(cmd, &c, from)
			if err != nil {
				return err
			}
			found, err := policyfile.DescribeChanges(before.View(0), policyfile.Diff(before.AllRoles(), before.AllGrants(), to))
			if err != nil {
				return err
			}
			return difference(found).answer(cmd.OutOrStdout(), &o)
		},
	}
	c.adminFlags(cmd)
	o.AddFlag(cmd)
	cmd.Flags().StringVar(&from, "from", "", "policy `file` to compare with, instead of the server's policy")
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
	server := serverPolicy{cmd, admin, c.timeout}
	file, err := server.current()
	return file, hintFailure(err)
}

// difference is what changes do to a policy. It is empty if they leave the policy as it is.
type difference []policyfile.Description

// answer prints the difference. It returns [cli.ErrDenied] if there is one.
func (d difference) answer(out io.Writer, o *cli.Output) error {
	document := client.Changes{Changes: make([]policy.ChangeSpec, 0, len(d))}
	for _, described := range d {
		document.Changes = append(document.Changes, policy.SpecOfChange(described.Change))
	}
	err := o.Write(out, &document, func(out io.Writer) error {
		if len(d) == 0 {
			_, err := fmt.Fprintln(out, "no differences")
			return err
		}
		return d.print(out, "")
	})
	if err == nil && len(d) > 0 {
		return cli.ErrDenied
	}
	return err
}

// print prints one line for each field that changes, each after the indent.
func (d difference) print(out io.Writer, indent string) error {
	w := bufio.NewWriter(out)
	for _, described := range d {
		for _, line := range described.Lines {
			fmt.Fprintln(w, indent+line)
		}
	}
	return w.Flush()
}
