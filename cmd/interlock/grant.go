package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// change is a command that changes the policy on the server.
type change struct {
	connection
	output
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

func grantCommand() *cobra.Command {
	c := &change{spec: policy.ChangeSpec{Op: policy.OpGrant}}
	cmd := &cobra.Command{
		Use: "grant PRINCIPAL ROLE", Short: "Give a role to a principal", Args: needs("PRINCIPAL", "ROLE"),
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
	cmd.ValidArgsFunction = c.complete(principalNames, roleNames)
	cmd.Flags().DurationVar(&c.expires, "for", 0, "let it expire after this `time`")
	return cmd
}

func revokeCommand() *cobra.Command {
	c := &change{spec: policy.ChangeSpec{Op: policy.OpRevoke}}
	var certificate string
	cmd := &cobra.Command{
		Use: "revoke PRINCIPAL ROLE | revoke --certificate FILE", Short: "Take a role from a principal, or end a certificate",
		Long: `Take a role from a principal. When the command returns with exit status 0, no operation
that the revocation forbids is running, and none will start. Exit status 1 means one of:

  - The principal has no such grant. --ignore-not-found accepts that.
  - Another grant still gives the role to the principal. The revocation is applied, and
    the error names the grants. --allow-still-granted accepts that.
  - The revocation is applied, but the operations that the receipt lists were still
    running at the end of --wait.`,
		Example: "  interlock revoke spiffe://interlock.test/alice order-writer --reason 'left the team'\n" +
			"  interlock revoke --certificate .interlock/alice.crt --reason 'key lost'",
		Args: func(cmd *cobra.Command, args []string) error {
			if certificate == "" {
				return needs("PRINCIPAL", "ROLE")(cmd, args)
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
	cmd.ValidArgsFunction = c.complete(principalNames, roleNames)
	cmd.Flags().BoolVar(&c.ignoreNotFound, "ignore-not-found", false, "succeed if the principal has no such grant")
	cmd.Flags().BoolVar(&c.allowStillGranted, "allow-still-granted", false, "succeed if another grant still gives the role")
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
	c.outputFlag(cmd)
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
	described, err := c.print(cmd, admin, result)
	if err != nil || c.spec.Op != policy.OpRevoke {
		return errors.Join(err, unquiesced(result))
	}
	return errors.Join(c.checkRevoked(cmd, result, described), unquiesced(result))
}

// checkRevoked rejects the result of a revocation that took no grant, or that leaves the role granted. Described has
// what a dry run would change.
func (c *change) checkRevoked(cmd *cobra.Command, result *client.Result, described []string) error {
	holder := c.spec.Principal + c.spec.Principals
	unchanged, still := len(described) == 0, []policy.GrantSpec(nil)
	if r := result.Receipt; r != nil {
		unchanged, still = r.Unchanged, r.StillGrantedBy
	}
	if unchanged && !c.ignoreNotFound {
		err := fmt.Errorf("principal %q has no such grant of role %q", holder, c.spec.Role.Name)
		if len(still) > 0 {
			err = fmt.Errorf("%w; the role is granted by %s", err, sayGrants(still))
		}
		return reject(cmd, err, "interlock get principal lists the grants; --ignore-not-found accepts this")
	}
	if len(still) > 0 && !c.allowStillGranted {
		err := fmt.Errorf("principal %q still has role %q: it is granted by %s", holder, c.spec.Role.Name, sayGrants(still))
		return reject(cmd, err, "the revocation is applied; revoke these grants too, or accept them with --allow-still-granted")
	}
	return nil
}

// sayGrants names grants on one line.
func sayGrants(grants []policy.GrantSpec) string {
	var texts []string
	for _, g := range grants {
		texts = append(texts, fmt.Sprintf("%s%s as %s", g.Principal, g.Principals, g.Role))
	}
	return strings.Join(texts, ", ")
}

// print prints a receipt or a preview. For a preview it returns the lines that say what would change.
func (c *change) print(cmd *cobra.Command, admin *client.Client, result *client.Result) (described []string, err error) {
	if result.Preview == nil {
		return nil, c.write(cmd.OutOrStdout(), result.Receipt, func(out io.Writer) error { return printReceipt(out, result.Receipt) })
	}
	if described, err = c.describe(cmd, admin, result.Preview); err != nil {
		return nil, err
	}
	return described, c.write(cmd.OutOrStdout(), result.Preview, func(out io.Writer) error {
		return printPreview(out, result.Preview, described)
	})
}

// describe says what a preview would change, one line for each field. A caller that may not read the policy gets one
// line for each change.
func (c *change) describe(cmd *cobra.Command, admin *client.Client, p *client.Preview) ([]string, error) {
	changes := make([]policy.Change, 0, len(p.Changes))
	lines := make([]string, 0, len(p.Changes))
	for i := range p.Changes {
		change, err := p.Changes[i].Change()
		if err != nil {
			return nil, err
		}
		changes, lines = append(changes, change), append(lines, describe(&p.Changes[i]))
	}
	now, err := readServerPolicy(cmd, admin, c.timeout)
	if problem, ok := errors.AsType[*client.Problem](err); ok && problem.Status == http.StatusForbidden {
		return lines, nil
	}
	if err != nil {
		return nil, err
	}
	return policyfile.DescribeChanges(now.View(p.At), changes)
}

func printPreview(out io.Writer, p *client.Preview, described []string) error {
	if len(described) == 0 {
		fmt.Fprintf(out, "dry run at revision %d: no changes\n", p.At)
	} else {
		fmt.Fprintf(out, "dry run at revision %d, would change:\n", p.At)
	}
	for _, line := range described {
		fmt.Fprintln(out, " ", line)
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
}
