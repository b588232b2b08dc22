package cli

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

// The exit statuses.
const (
	OK     = 0
	Denied = 1 // the answer is no
	Error  = 2 // the command failed
)

// ErrDenied ends a command with the exit status [Denied]. The command has already printed its answer.
var ErrDenied = errors.New("denied")

// ErrInterrupted ends a command that a signal stopped before it was done. The exit status is [Error].
var ErrInterrupted = errors.New("interrupted")

// ExitError ends a command with an exit status of its own.
type ExitError struct {
	Status int
	// Err is printed; nil for nothing.
	Err error
}

// Error returns the text of Err.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *ExitError) Unwrap() error { return e.Err }

// Run runs the command and returns its exit status. The first SIGINT or SIGTERM cancels the command's context; the
// second one kills the process. Run prints an error, and its hint if it has one, to stderr.
func Run(root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	root.SilenceUsage, root.SilenceErrors = true, true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return Hint(err, "%s --help lists the flags", cmd.CommandPath())
	})
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	own, hasOwn := errors.AsType[*ExitError](err)
	switch {
	case err == nil:
		return OK
	case hasOwn && own.Err == nil:
		return own.Status
	case errors.Is(err, ErrDenied):
		return Denied
	}
	stderr = plain{stderr}
	fmt.Fprintln(stderr, "error:", err)
	var h *hinted
	if errors.As(err, &h) {
		fmt.Fprintln(stderr, "hint: ", h.hint)
	}
	if hasOwn {
		return own.Status
	}
	return Error
}

// Group makes a command that only holds others. Without a member's name it prints its help; an unknown name is an error.
func Group(cmd *cobra.Command, members ...*cobra.Command) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(members...)
	return cmd
}
