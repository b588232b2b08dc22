package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit statuses: 1 is a no that was asked for, 2 is anything that went wrong.
const (
	exitOK     = 0
	exitDenied = 1
	exitError  = 2
)

// errDenied is how a command says no without an error: the answer is printed already.
var errDenied = errors.New("denied")

// hinted is an error with a line that says what to do.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

func hint(err error, format string, args ...any) error {
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// run runs the command and returns its exit status. The first signal ends it in good
// order, the second one at once.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errDenied):
		return exitDenied
	}
	fmt.Fprintln(stderr, "error:", err)
	var h *hinted
	if errors.As(err, &h) {
		fmt.Fprintln(stderr, "hint: ", h.hint)
	}
	return exitError
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "interlock",
		Short: "Authorization in which check and use cannot be torn apart",
		Long: `interlock is an authorization engine: each principal is an actor that owns its
permissions, and a request and a revocation queue in one mailbox. When a revocation
returns, nothing that it forbids is running, and nothing will start.

Begin with:  interlock serve --dev`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return hint(err, "%s --help lists the flags", cmd.CommandPath())
	})
	root.AddCommand(serveCommand(), caCommand(), checkCommand(), explainCommand(), grantCommand(),
		revokeCommand(), policyCommand(), logCommand(), leasesCommand(), backupCommand(), restoreCommand(),
		storeCommand(), raceCommand(), benchCommand(), versionCommand())
	return root
}

// group makes a command that only holds others: without one of them it shows its help,
// and a misspelt one is an error.
func group(cmd *cobra.Command, members ...*cobra.Command) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(members...)
	return cmd
}
