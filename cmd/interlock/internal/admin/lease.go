package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// The exit statuses of interlock lease besides those of its command, as timeout(1) has them.
const (
	statusLost     = 124 // the lease was lost
	statusNoLease  = 125 // there is no lease
	statusNotRun   = 126 // the command cannot be run
	statusNotFound = 127 // there is no such command
	statusSignaled = 128 // plus the number of the signal
)

// leaseRun is the command lease.
type leaseRun struct {
	connection
	subject    string
	killAfter  time.Duration
	properties []string
}

func leaseCommand() *cobra.Command {
	l := &leaseRun{}
	cmd := &cobra.Command{
		Use: "lease ACTION RESOURCE [flags] -- COMMAND [ARGUMENTS]", Short: "Run a command under a lease",
		Long: `Run a command under a lease: it starts if the policy allows the action, and a revocation
ends it and waits until it has ended.

When the lease is lost, because the authority was revoked or the server cannot be reached,
the command's process group gets SIGTERM, and SIGKILL after --kill-after, or earlier if the
lease expires before. A lease lasts --ttl without contact to the server. What the command
leaves in the background is killed when it ends. INTERLOCK_LEASE is the ID of the lease.

The exit status is that of the command, or 128 plus the number of the signal that ended it.
It is 124 if the lease was lost, 125 if there was none, because the policy denies it or the
server gave no answer, 126 if the command cannot be run, and 127 if it does not exist.`,
		Example: "  interlock lease orders:write orders/42 --property amount=12 --as alice -- ./migrate.sh",
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash != 2 || len(args) < 3 {
				return cli.Hint(fmt.Errorf("%s needs ACTION, RESOURCE, -- and a command", cmd.CommandPath()), "%s --help shows the usage", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			err := l.run(cmd, args[0], args[1], args[2:])
			if _, ok := errors.AsType[*cli.ExitError](err); err == nil || ok {
				return err
			}
			return &cli.ExitError{Status: statusNoLease, Err: err}
		},
	}
	l.callerFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&l.subject, "for", "", "`principal` that the lease is for, instead of the caller; needs interlock:lease on it")
	f.DurationVar(&l.leaseTTL, "ttl", client.DefaultLeaseTTL, "how long the lease lasts without contact to the server, 1s to 1m")
	f.DurationVar(&l.killAfter, "kill-after", 5*time.Second, "how long the command may take to end after SIGTERM")
	f.StringArrayVar(&l.properties, "property", nil, "property of the resource, `name=value`; a value that is not JSON is text")
	return cmd
}

func (l *leaseRun) run(cmd *cobra.Command, action, resource string, command []string) error {
	asked, err := l.evaluation(action, resource)
	if err != nil {
		return err
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return notRun(command[0], err)
	}
	c, err := l.client()
	if err != nil {
		return err
	}
	defer c.Close()
	held, err := acquire(cmd.Context(), c, asked)
	if err != nil {
		return hintFailure(err)
	}
	defer held.Release()
	return l.supervise(held, path, command, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
}

// acquire acquires a lease whose context does not end with ctx: the signals that end it are for the
// command.
func acquire(ctx context.Context, c *client.Client, e client.Evaluation) (*client.Lease, error) {
	during, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	l, err := c.Acquire(during, e)
	if interrupted := !stop(); interrupted && err == nil {
		l.Release()
		return nil, cli.ErrInterrupted
	}
	if err != nil {
		cancel()
	}
	return l, err
}

func (l *leaseRun) evaluation(action, resource string) (client.Evaluation, error) {
	properties, err := parseProperties(l.properties)
	if err = errors.Join(err, policy.CheckAction(action), policy.CheckResource(resource)); err != nil {
		return client.Evaluation{}, err
	}
	if l.leaseTTL < client.MinLeaseTTL || l.leaseTTL > client.MaxLeaseTTL {
		return client.Evaluation{}, fmt.Errorf("--ttl is %s; it must be between %s and %s", l.leaseTTL, client.MinLeaseTTL, client.MaxLeaseTTL)
	}
	kind, id, ok := strings.Cut(resource, "/")
	if !ok {
		return client.Evaluation{}, cli.Hint(fmt.Errorf("resource %q has no type", resource), "the server accepts resources of the form type/id, such as orders/42")
	}
	e := client.Evaluation{Action: client.Action{Name: action}, Resource: client.Entity{Type: kind, ID: id, Properties: properties}}
	if l.subject != "" {
		if _, err := policy.ParsePrincipal(l.subject); err != nil {
			return client.Evaluation{}, fmt.Errorf("--for: %w", err)
		}
		e.Subject = client.Entity{Type: "principal", ID: l.subject}
	}
	return e, nil
}

// notRun is the error of a command that cannot be run.
func notRun(name string, err error) error {
	status := statusNotRun
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		status = statusNotFound
	}
	return &cli.ExitError{Status: status, Err: fmt.Errorf("run %s: %w", name, err)}
}

// supervise runs the command in a process group of its own, and ends the group when the lease is
// lost. When the command has ended, it kills what is left of the group. Signals of this process go
// to the group.
func (l *leaseRun) supervise(held *client.Lease, path string, command []string, in io.Reader, out, diagnostics io.Writer) error {
	child := &exec.Cmd{
		Path: path, Args: command, Stdin: in, Stdout: out, Stderr: diagnostics,
		SysProcAttr: inOwnGroup(),
		Env:         append(os.Environ(), "INTERLOCK_LEASE="+held.ID()),
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	runtime.LockOSThread() // the command dies with the thread that starts it
	defer runtime.UnlockOSThread()
	if err := held.Check(); err != nil {
		return lostLease(err)
	}
	if err := child.Start(); err != nil {
		return notRun(command[0], err)
	}
	group := -child.Process.Pid
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	lost := held.Context().Done()
	var cause error
	var kill <-chan time.Time
	for {
		select {
		case err := <-ended:
			_ = syscall.Kill(group, syscall.SIGKILL) // what it left in the background
			if cause != nil {
				return lostLease(cause)
			}
			return statusOf(err)
		case s := <-signals:
			_ = syscall.Kill(group, s.(syscall.Signal))
		case <-lost:
			lost, cause = nil, context.Cause(held.Context())
			_ = syscall.Kill(group, syscall.SIGTERM)
			timer := time.NewTimer(min(l.killAfter, held.Remaining()/2)) // well before the lease expires
			defer timer.Stop()
			kill = timer.C
		case <-kill:
			_ = syscall.Kill(group, syscall.SIGKILL)
		}
	}
}

func lostLease(cause error) error {
	return &cli.ExitError{Status: statusLost, Err: fmt.Errorf("the command was ended: %w", cause)}
}

// statusOf passes on how the command ended.
func statusOf(err error) error {
	failed, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err
	}
	if s, ok := failed.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return &cli.ExitError{Status: statusSignaled + int(s.Signal())}
	}
	return &cli.ExitError{Status: failed.ExitCode()}
}
