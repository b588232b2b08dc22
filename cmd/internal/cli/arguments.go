package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Needs accepts exactly the arguments with these names. Its error names the missing or the unexpected argument.
func Needs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usageError(cmd, "needs "+List(names))
		case len(args) > len(names):
			return usageError(cmd, fmt.Sprintf("needs only %s; unexpected argument %q", List(names), args[len(names)]))
		}
		return nil
	}
}

// AtMostOne accepts no argument, or one with this name.
func AtMostOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usageError(cmd, fmt.Sprintf("needs at most %s; unexpected argument %q", name, args[1]))
		}
		return nil
	}
}

// AtLeastOne accepts one or more arguments with this name.
func AtLeastOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError(cmd, "needs at least one "+name)
		}
		return nil
	}
}

func usageError(cmd *cobra.Command, what string) error {
	return Hint(fmt.Errorf("%s %s", cmd.CommandPath(), what), "%s --help shows the usage", cmd.CommandPath())
}

// List joins names as in "A, B and C". There must be at least one.
func List(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
