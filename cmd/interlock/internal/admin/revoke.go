package admin

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

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
				return cli.Needs("PRINCIPAL", "ROLE")(cmd, args)
			}
			if len(args) > 0 {
				return errors.New("--certificate excludes the arguments PRINCIPAL and ROLE")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if certificate == "" {
				c.setHolder(args)
				return c.apply(cmd)
			}
			c.spec.Op = policy.OpRevokeCertificate
			if err := nameCertificate(&c.spec, certificate); err != nil {
				return err
			}
			return c.apply(cmd)
		},
	}
	c.updateFlags(cmd)
	c.reasonFlag(cmd)
	c.graceFlag(cmd)
	cmd.Flags().StringSliceVar((*[]string)(&c.spec.Within), "within", nil, "revoke only the grant that is limited to exactly these `patterns`")
	cmd.ValidArgsFunction = c.complete(principalNames, roleNames)
	cmd.Flags().BoolVar(&c.ignoreNotFound, "ignore-not-found", false, "succeed if the principal has no such grant")
	cmd.Flags().BoolVar(&c.allowStillGranted, "allow-still-granted", false, "succeed if another grant still gives the role")
	cmd.Flags().StringVar(&certificate, "certificate", "", "`file` of a certificate, or its SHA-256, or serial@issuer")
	cmd.Flags().BoolVar(&c.forceCA, "force-authority", false, "revoke the certificate of a CA, and so all that it issued")
	return cmd
}

// nameCertificate selects a certificate by a file, its SHA-256, or serial@issuer.
func nameCertificate(spec *policy.ChangeSpec, name string) error {
	if _, err := os.Stat(name); err == nil {
		leaves, err := cli.ReadLeaves([]string{name})
		if err != nil {
			return err
		}
		spec.SHA256 = fmt.Sprintf("%x", sha256.Sum256(leaves[0].Raw))
		return nil
	}
	if serial, issuer, ok := strings.Cut(name, "@"); ok {
		spec.Serial, spec.Issuer = serial, issuer
		return nil
	}
	spec.SHA256 = name
	return nil
}

// checkRevoked rejects the result of a revocation that took no grant, or that leaves the role granted. For a
// dry run, d is what it would change.
func (c *change) checkRevoked(cmd *cobra.Command, result *client.Result, d difference) error {
	holder := c.spec.Principal + c.spec.Principals
	unchanged, count, still := len(d) == 0, 0, ""
	if r := result.Receipt; r != nil {
		unchanged, count, still = r.Unchanged, r.StillGrantedCount, sayGrants(r)
	}
	if unchanged && !c.ignoreNotFound {
		err := fmt.Errorf("principal %q has no such grant of role %q", holder, c.spec.Role.Name)
		if count > 0 {
			err = fmt.Errorf("%w; the role is granted by %s", err, still)
		}
		return reject(cmd, err, "interlock get principal lists the grants; --ignore-not-found accepts this")
	}
	if count > 0 && !c.allowStillGranted {
		err := fmt.Errorf("principal %q still has role %q: it is granted by %s", holder, c.spec.Role.Name, still)
		return reject(cmd, err, "the revocation is applied; revoke these grants too, or accept them with --allow-still-granted")
	}
	return nil
}

// sayGrants returns on one line the grants that still give the role.
func sayGrants(r *client.Receipt) string {
	var texts []string
	for _, g := range r.StillGrantedBy {
		texts = append(texts, fmt.Sprintf("%s%s as %s", g.Principal, g.Principals, g.Role))
	}
	if hidden := r.StillGrantedCount - len(r.StillGrantedBy); hidden > 0 {
		texts = append(texts, fmt.Sprintf("%d grants that you may not read", hidden))
	}
	return strings.Join(texts, ", ")
}
