package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
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
	spec       policy.ChangeSpec
	expires    time.Duration
	wait       time.Duration
	grace      time.Duration
	graceGiven func() bool // nil without the flag
	dry        bool
	force      bool
}

func grantCommand() *cobra.Command {
	c := &change{spec: policy.ChangeSpec{Op: policy.OpGrant}}
	cmd := &cobra.Command{
		Use: "grant PRINCIPAL ROLE", Short: "Give a role to a principal", Args: cobra.ExactArgs(2),
		Long: `Give a role to a principal, or with a wildcard in it to all that match. Prints the
receipt: the revision, and what the update ended.`,
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
	cmd.Flags().StringSliceVar(&c.spec.Within, "within", nil, "limit it to resources that match `pattern`")
	cmd.Flags().DurationVar(&c.expires, "for", 0, "let it expire after this `time`")
	return cmd
}

func revokeCommand() *cobra.Command {
	c := &change{spec: policy.ChangeSpec{Op: policy.OpRevoke}}
	var certificate string
	cmd := &cobra.Command{
		Use: "revoke PRINCIPAL ROLE | revoke --certificate FILE", Short: "Take a role from a principal, or end a certificate",
		Long: `Take a role from a principal. When the command returns with exit status 0, nothing that
the revocation forbids is running, and nothing will start. Exit status 1 means that the
revocation stands and that what the receipt lists had not ended when the wait was over.`,
		Example: "  interlock revoke spiffe://interlock.test/alice order-writer --reason 'left the team'\n" +
			"  interlock revoke --certificate .interlock/alice.crt --reason 'key lost'",
		Args: func(cmd *cobra.Command, args []string) error {
			if certificate == "" {
				return cobra.ExactArgs(2)(cmd, args)
			}
			if len(args) > 0 {
				return errors.New("name a principal and a role, or with --certificate a certificate, not both")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if certificate == "" {
				c.setHolder(args)
				return c.apply(cmd)
			}
			if err := c.nameCertificate(certificate); err != nil {
				return err
			}
			return c.apply(cmd)
		},
	}
	c.updateFlags(cmd)
	c.reasonFlag(cmd)
	c.graceFlag(cmd)
	cmd.Flags().StringSliceVar(&c.spec.Within, "within", nil, "take only the grant that is limited to exactly these `patterns`")
	cmd.Flags().StringVar(&certificate, "certificate", "", "`file` of a certificate, or its SHA-256, or serial@issuer")
	return cmd
}

// nameCertificate takes the certificate from a file, if there is one of that name.
func (c *change) nameCertificate(name string) error {
	c.spec.Op = policy.OpRevokeCertificate
	if _, err := os.Stat(name); err == nil {
		leaves, err := cli.ReadLeaves([]string{name})
		if err != nil {
			return err
		}
		c.spec.SHA256 = fmt.Sprintf("%x", sha256.Sum256(leaves[0].Raw))
		return nil
	}
	if serial, issuer, ok := strings.Cut(name, "@"); ok {
		c.spec.Serial, c.spec.Issuer = serial, issuer
		return nil
	}
	c.spec.SHA256 = name
	return nil
}

func (c *change) updateFlags(cmd *cobra.Command) {
	c.adminFlags(cmd)
	f := cmd.Flags()
	f.DurationVar(&c.wait, "wait", 10*time.Second, "how long to wait until it is quiesced")
	f.BoolVar(&c.dry, "dry-run", false, "only say what it would do")
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
	return printResult(cmd.OutOrStdout(), result)
}

// printResult prints a receipt or a preview. A receipt that is not quiesced is exit status 1.
func printResult(out io.Writer, result *client.Result) error {
	if p := result.Preview; p != nil {
		fmt.Fprintf(out, "dry run at revision %d: nothing was changed\n", p.At)
		for i := range p.WouldEnd {
			fmt.Fprintln(out, "  would end", &p.WouldEnd[i])
		}
		return nil
	}
	r := result.Receipt
	state := "quiesced"
	if !r.Quiesced {
		state = "stands, but is not quiesced"
	}
	fmt.Fprintf(out, "revision %d, %s\n", r.Revision, state)
	printOperations(out, r)
	printNotes(out, r)
	if !r.Quiesced {
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
}

func printNotes(out io.Writer, r *client.Receipt) {
	if r.Connections > 0 {
		fmt.Fprintf(out, "  closed connections: %d\n", r.Connections)
	}
	if r.Unchanged {
		fmt.Fprintln(out, "  note: nothing changed, for it was so before")
	}
	for _, g := range r.StillGrantedBy {
		fmt.Fprintf(out, "  note: still granted by %s%s as %s\n", g.Principal, g.Principals, g.Role)
	}
}
