// Package lab is the commands of interlock-lab: race, bench and compare.
package lab

import (
	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// Command is interlock-lab.
func Command() *cobra.Command {
	return cli.Group(&cobra.Command{
		Use:   "interlock-lab",
		Short: "Test APIs for races between check and use, and measure interlock",
		Long: `interlock-lab tests APIs behind mutual TLS for races between check and use, and measures
interlock against other ways to authorize.

Begin with:  interlock-lab race --demo`,
	}, raceCommand(), benchCommand(), compareCommand(), cli.VersionCommand("interlock-lab"))
}
