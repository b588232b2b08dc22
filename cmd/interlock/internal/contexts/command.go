package contexts

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// Command returns the group of commands about contexts.
func Command() *cobra.Command {
	return cli.Group(&cobra.Command{
		Use: "config", Short: "Manage named contexts of the client",
		Long: `Manage named contexts. A context says how the client commands reach one server: the
URLs of its listeners, the CA and the client certificate. The contexts are in
$XDG_CONFIG_HOME/interlock/config.yaml.

Flags override environment variables, and environment variables override the context:
INTERLOCK_ADMIN, INTERLOCK_SERVER, INTERLOCK_CA, INTERLOCK_CERT and INTERLOCK_KEY.
Without any of them the commands use the files in ./` + cli.DevFolder + `.`,
	}, setCommand(), useCommand(), listCommand(), deleteCommand())
}

func setCommand() *cobra.Command {
	var given Context
	cmd := &cobra.Command{
		Use: "set-context NAME", Short: "Add or change a context", Args: cli.Needs("NAME"),
		Long: "Add a context, or change the given settings of an existing one. The first context\nbecomes the current one.",
		Example: "  interlock config set-context prod --admin https://authz.example.org:8444 \\\n" +
			"    --ca ca.crt --cert me.crt --key me.key",
		ValidArgsFunction: complete,
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := load()
			if err != nil {
				return err
			}
			if f.Contexts[args[0]], err = f.Contexts[args[0]].with(given); err != nil {
				return err
			}
			if len(f.Contexts) == 1 {
				f.Current = args[0]
			}
			return f.save()
		},
	}
	f := cmd.Flags()
	f.StringVar(&given.Admin, "admin", "", "`URL` of the listener for administrators")
	f.StringVar(&given.Server, "server", "", "`URL` of the listener for callers")
	f.StringVar(&given.CA, "ca", "", "CA `file` of the server")
	f.StringVar(&given.Cert, "cert", "", "client certificate `file`")
	f.StringVar(&given.Key, "key", "", "client key `file`")
	return cmd
}

func useCommand() *cobra.Command {
	return &cobra.Command{
		Use: "use-context NAME", Short: "Select the context that commands use", Args: cli.Needs("NAME"),
		ValidArgsFunction: complete,
		RunE: func(_ *cobra.Command, args []string) error {
			return change(args[0], func(f *file) { f.Current = args[0] })
		},
	}
}

func deleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete-context NAME", Short: "Delete a context", Args: cli.Needs("NAME"),
		ValidArgsFunction: complete,
		RunE: func(_ *cobra.Command, args []string) error {
			return change(args[0], func(f *file) {
				delete(f.Contexts, args[0])
				if f.Current == args[0] {
					f.Current = ""
				}
			})
		},
	}
}

func listCommand() *cobra.Command {
	var o cli.Output
	cmd := &cobra.Command{
		Use: "get-contexts", Short: "List the contexts; a star marks the current one", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := load()
			if err != nil {
				return err
			}
			return o.Write(cmd.OutOrStdout(), f, f.print)
		},
	}
	o.AddFlag(cmd)
	return cmd
}

func (f *file) print(out io.Writer) error {
	for _, name := range slices.Sorted(maps.Keys(f.Contexts)) {
		mark := " "
		if name == f.Current {
			mark = "*"
		}
		if _, err := fmt.Fprintf(out, "%s %s  %s\n", mark, name, f.Contexts[name].Admin); err != nil {
			return err
		}
	}
	return nil
}

// complete offers the names of contexts for the first argument.
func complete(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	f, err := load()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(f.Contexts)), cobra.ShellCompDirectiveNoFileComp
}
