package lab

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/bench/results"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

func compareCommand() *cobra.Command {
	return &cobra.Command{
		Use: "compare OLD.json NEW.json", Short: "Compare two runs of bench", Args: cli.Needs("OLD.json", "NEW.json"),
		Long: `Compare every figure that both runs have. A difference counts if the Mann-Whitney U-test over
the samples gives p below 0.05. Exit status 1 means that a figure is worse.`,
		Example: "  interlock-lab compare old/ratios.json new/ratios.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			old, err := results.Read(args[0])
			if err != nil {
				return err
			}
			now, err := results.Read(args[1])
			if err != nil {
				return err
			}
			return compareRuns(cmd, old, now)
		},
	}
}

func compareRuns(cmd *cobra.Command, old, now *results.Document) error {
	changes, missing := results.Compare(old, now)
	if err := results.WriteChanges(cmd.OutOrStdout(), changes); err != nil {
		return err
	}
	for _, m := range missing {
		fmt.Fprintln(cmd.ErrOrStderr(), "not compared:", m)
	}
	if slices.ContainsFunc(changes, (*results.Change).Regressed) {
		return cli.ErrDenied
	}
	return nil
}
