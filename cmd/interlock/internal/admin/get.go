package admin

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

func getCommand() *cobra.Command {
	return cli.Group(&cobra.Command{Use: "get", Short: "Show a principal or a role"}, getPrincipalCommand(), getRoleCommand())
}

func getPrincipalCommand() *cobra.Command {
	var c connection
	var o cli.Output
	cmd := &cobra.Command{
		Use: "principal ID", Short: "Show the grants, roles and permissions of a principal", Args: cli.Needs("ID"),
		Example: "  interlock get principal spiffe://interlock.test/alice",
		RunE: func(cmd *cobra.Command, args []string) error {
			admin, err := c.client()
			if err != nil {
				return err
			}
			p, err := admin.Principal(cmd.Context(), args[0])
			if err != nil {
				return hintFailure(err)
			}
			return o.Write(cmd.OutOrStdout(), p, func(out io.Writer) error { return printPrincipal(out, p) })
		},
	}
	c.adminFlags(cmd)
	o.AddFlag(cmd)
	cmd.ValidArgsFunction = c.complete(principalNames)
	return cmd
}

func printPrincipal(out io.Writer, p *client.Principal) error {
	fmt.Fprintf(out, "%s at revision %d\n", p.Principal, p.Revision)
	printGrants(out, p.Grants)
	for _, r := range p.Roles {
		fmt.Fprintf(out, "  role %s via %s\n", r.Name, cli.List(r.Via))
	}
	for i := range p.Permissions {
		held := &p.Permissions[i]
		fmt.Fprintf(out, "  permission of role %s: %s\n", held.Role, sayPermission(&held.PermissionSpec))
	}
	return nil
}

func printGrants(out io.Writer, grants []policy.GrantSpec) {
	for i := range grants {
		g := &grants[i]
		fmt.Fprintln(out, "  "+describe(&policy.ChangeSpec{
			Op: policy.OpGrant, Principal: g.Principal, Principals: g.Principals, Role: policy.RoleRef{Name: g.Role},
			Within: g.Within, Expires: g.Expires, Reason: g.Reason,
		}))
	}
}

func sayPermission(p *policy.PermissionSpec) string {
	text := fmt.Sprintf("%v on %v", p.Actions, p.Resources)
	if p.Effect != "" {
		text = fmt.Sprintf("%v %s", p.Effect, text)
	}
	if p.When != "" {
		text += " when " + p.When
	}
	return text
}

func getRoleCommand() *cobra.Command {
	var c connection
	var o cli.Output
	cmd := &cobra.Command{
		Use: "role NAME", Short: "Show the permissions and grants of a role", Args: cli.Needs("NAME"),
		Long:    "Show the permissions of a role, the roles that it inherits, and its grants. Exit status 1\nmeans that the role is unknown.",
		Example: "  interlock get role order-writer",
		RunE: func(cmd *cobra.Command, args []string) error {
			admin, err := c.client()
			if err != nil {
				return err
			}
			role, err := admin.Role(cmd.Context(), args[0])
			switch {
			case client.IsProblem(err, "unknown-role"):
				return reject(cmd, fmt.Errorf("role %q: unknown", args[0]), "interlock policy export shows all roles")
			case err != nil:
				return hintFailure(err)
			}
			return o.Write(cmd.OutOrStdout(), role, func(out io.Writer) error { return printRole(out, role) })
		},
	}
	c.adminFlags(cmd)
	o.AddFlag(cmd)
	cmd.ValidArgsFunction = c.complete(roleNames)
	return cmd
}

func printRole(out io.Writer, r *client.Role) error {
	fmt.Fprintf(out, "role %s at revision %d\n", r.Name, r.Revision)
	for _, name := range r.Inherits {
		fmt.Fprintf(out, "  inherits %s\n", name)
	}
	for i := range r.Permissions {
		fmt.Fprintf(out, "  permission %s\n", sayPermission(&r.Permissions[i]))
	}
	printGrants(out, r.Grants)
	return nil
}

// principalNames returns the principals that have a grant of their own.
func principalNames(p *client.Policy) []string {
	var names []string
	for _, g := range p.Grants {
		if g.Principal != "" {
			names = append(names, g.Principal)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func roleNames(p *client.Policy) []string { return slices.Sorted(maps.Keys(p.Roles)) }
