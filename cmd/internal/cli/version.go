package cli

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// VersionCommand prints the version of the binary with that name.
func VersionCommand(name string) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), name, Version())
			return err
		},
	}
}

// Version describes the running binary: version, commit and toolchain.
func Version() string {
	version, commit, built := "unknown", "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version, built = info.Main.Version, info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	return fmt.Sprintf("%s (commit %s, %s)", version, commit, built)
}

// CommandLine returns the command line of the process, with the name of the binary.
func CommandLine(name string) string {
	return strings.Join(append([]string{name}, os.Args[1:]...), " ")
}
