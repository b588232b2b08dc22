package cli

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// VersionCommand prints the version of the binary with that name.
func VersionCommand(name string) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			version, commit, built := "unknown", "unknown", ""
			if info, ok := debug.ReadBuildInfo(); ok {
				version, built = info.Main.Version, info.GoVersion
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						commit = s.Value
					}
				}
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s %s (commit %s, %s)\n", name, version, commit, built)
			return err
		},
	}
}
