package admin

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// print prints a receipt or a preview. For a preview it returns what would change.
func (c *change) print(cmd *cobra.Command, admin *client.Client, result *client.Result) (difference, error) {
	if result.Preview == nil {
		return nil, c.Write(cmd.OutOrStdout(), result.Receipt, func(out io.Writer) error { return printReceipt(out, result.Receipt) })
	}
	d, err := c.describe(cmd, admin, result.Preview)
	if err != nil {
		return nil, err
	}
	return d, c.Write(cmd.OutOrStdout(), result.Preview, func(out io.Writer) error { return printPreview(out, result.Preview, d) })
}

// describe compares a preview with the policy at its revision. If the caller cannot read the policy, it describes each
// change on one line.
func (c *change) describe(cmd *cobra.Command, admin *client.Client, p *client.Preview) (difference, error) {
	changes := make([]policy.Change, 0, len(p.Changes))
	requested := make(difference, 0, len(p.Changes))
	for i := range p.Changes {
		change, err := p.Changes[i].Change()
		if err != nil {
			return nil, err
		}
		changes = append(changes, change)
		requested = append(requested, policyfile.Description{Change: change, Lines: []string{describe(&p.Changes[i])}})
	}
	server := serverPolicy{cmd, admin, c.timeout}
	then, err := server.at(p.At)
	if problem, ok := errors.AsType[*client.Problem](err); ok && problem.Status == http.StatusForbidden {
		return requested, nil
	}
	if err != nil {
		return nil, hintFailure(err)
	}
	return policyfile.DescribeChanges(then.View(p.At), changes)
}

func printPreview(out io.Writer, p *client.Preview, d difference) error {
	if len(d) == 0 {
		fmt.Fprintf(out, "dry run at revision %d: no changes\n", p.At)
	} else {
		fmt.Fprintf(out, "dry run at revision %d, would change:\n", p.At)
	}
	if err := d.print(out, "  "); err != nil {
		return err
	}
	for i := range p.WouldEnd {
		fmt.Fprintln(out, "  would end", &p.WouldEnd[i])
	}
	return nil
}

func printReceipt(out io.Writer, r *client.Receipt) error {
	state := "quiesced"
	if !r.Quiesced {
		state = "applied, but not quiesced"
	}
	fmt.Fprintf(out, "revision %d, %s\n", r.Revision, state)
	printOperations(out, r)
	printNotes(out, r)
	return nil
}

// unquiesced returns [cli.ErrDenied] for a receipt that is not quiesced.
func unquiesced(result *client.Result) error {
	if r := result.Receipt; r != nil && !r.Quiesced {
		return cli.ErrDenied
	}
	return nil
}

func printOperations(out io.Writer, r *client.Receipt) {
	for i := range r.Ended {
		fmt.Fprintf(out, "  ended %v, %s after %s\n", &r.Ended[i], r.Ended[i].How, r.Ended[i].After)
	}
	if more := r.EndedCount - len(r.Ended); more > 0 {
		fmt.Fprintf(out, "  ended %d more\n", more)
	}
	for i := range r.Running {
		fmt.Fprintln(out, "  running", &r.Running[i])
	}
	if more := r.RunningCount - len(r.Running); more > 0 {
		fmt.Fprintf(out, "  running %d more\n", more)
	}
	for _, p := range r.Waiting {
		fmt.Fprintln(out, "  waiting for a turn of", p)
	}
	if more := r.WaitingCount - len(r.Waiting); more > 0 {
		fmt.Fprintf(out, "  waiting for turns of %d more\n", more)
	}
}

func printNotes(out io.Writer, r *client.Receipt) {
	if r.Connections > 0 {
		fmt.Fprintf(out, "  closed connections: %d\n", r.Connections)
	}
	if r.Unchanged {
		fmt.Fprintln(out, "  note: no change")
	}
	for _, g := range r.StillGrantedBy {
		fmt.Fprintf(out, "  note: still granted by %s%s as %s\n", g.Principal, g.Principals, g.Role)
	}
	if hidden := r.StillGrantedCount - len(r.StillGrantedBy); hidden > 0 {
		fmt.Fprintf(out, "  note: still granted by %d grants that you may not read\n", hidden)
	}
}
