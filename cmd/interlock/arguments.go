package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// needs accepts exactly the arguments with these names.
func needs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usageError(cmd, "needs "+list(names))
		case len(args) > len(names):
			return usageError(cmd, fmt.Sprintf("needs only %s; unexpected argument %q", list(names), args[len(names)]))
		}
		return nil
	}
}

// atMostOne accepts no argument, or one with this name.
func atMostOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usageError(cmd, fmt.Sprintf("needs at most %s; unexpected argument %q", name, args[1]))
		}
		return nil
	}
}

func usageError(cmd *cobra.Command, what string) error {
	return cli.Hint(fmt.Errorf("%s %s", cmd.CommandPath(), what), "%s --help shows the usage", cmd.CommandPath())
}

// list joins names as in "A, B and C".
func list(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	last := len(names) - 1
	return strings.Join(slices.Clone(names[:last]), ", ") + " and " + names[last]
}
