package actors

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Sentinels of this package, for [errors.Is].
var (
	// ErrDenied is wrapped by [*DeniedError]: the policy does not allow the operation.
	ErrDenied = errors.New("denied")
	// ErrNested is returned by an engine call with the context of a function that runs in a
	// turn. Such a call would wait for itself.
	ErrNested = errors.New("engine called from within a function that Execute runs")
	// ErrGoexit is returned when the function called runtime.Goexit.
	ErrGoexit = errors.New("the function ended its goroutine")
	// ErrPanicked is wrapped by [*PanicError].
	ErrPanicked = errors.New("the function panicked")
	// ErrNotQuiesced is wrapped by [*NotQuiescedError].
	ErrNotQuiesced = errors.New("not quiesced")
	// ErrPrecondition is wrapped when a precondition of an update does not hold, such as the
	// revision that it was based on.
	ErrPrecondition = errors.New("precondition failed")
	// ErrUnknownRevision is returned for a revision that no update has.
	ErrUnknownRevision = errors.New("unknown revision")
)

// Refusals. Each is also [ErrDenied] for [errors.Is] (G6).
var (
	// ErrOverloaded is returned at once when too many requests wait for one principal.
	ErrOverloaded error = refusal{"too many requests wait for this principal"}
	// ErrClosed is returned when the engine is shutting down or has shut down.
	ErrClosed error = refusal{"the engine is closed"}
	// ErrFault is returned when the engine cannot decide, because reading a record failed, the
	// log failed, or the turn itself did.
	ErrFault error = refusal{"the engine cannot decide"}
	// ErrFenced is returned while the log has fenced the engine: see [oplog.Events].
	ErrFenced error = refusal{"the engine is fenced: it cannot tell what the other engines on its log have agreed on"}
)

type refusal struct{ text string }

func (r refusal) Error() string { return r.text }

// Is makes a refusal a denial.
func (r refusal) Is(target error) bool { return target == ErrDenied }

// ErrRevoked is the error and the cause of a lease's context when its operation has lost its
// authority: by an update, by the expiry of a grant, or by the end of its credential. It is
// also [context.Canceled] for [errors.Is].
var ErrRevoked error = revoked{}

type revoked struct{}

func (revoked) Error() string { return "the authority of the operation was revoked" }

// Is makes a revocation a cancellation.
func (revoked) Is(target error) bool { return target == context.Canceled }

// errMoved sends a poster back to the directory because the mailbox is closed.
var errMoved = errors.New("the mailbox has closed")

// DeniedError is the error of an operation that was not allowed. It wraps [ErrDenied].
type DeniedError struct {
	Decision  policy.Decision
	Principal policy.Principal
	Action    string
	Resource  string
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("denied (%s): %s may not do %q on %q at revision %d",
		e.Decision.Reason, e.Principal, e.Action, e.Resource, e.Decision.Revision)
}

// Unwrap returns [ErrDenied].
func (e *DeniedError) Unwrap() error { return ErrDenied }

// PanicError is what Execute returns when its function panicked. It wraps [ErrPanicked],
// and the panic's value if that is an error.
type PanicError struct {
	Value any
	// Stack is that of the goroutine that panicked, as runtime/debug prints it.
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("%v: %v", ErrPanicked, e.Value) }

// Unwrap returns [ErrPanicked] and the panic's value if that is an error.
func (e *PanicError) Unwrap() []error {
	if err, ok := e.Value.(error); ok {
		return []error{ErrPanicked, err}
	}
	return []error{ErrPanicked}
}

// NotQuiescedError is the error of an update that is applied while operations that it, or an
// earlier update, forbids still run. It wraps [ErrNotQuiesced].
type NotQuiescedError struct {
	// Receipt is the receipt as of now. Receipt.Running lists the operations that still run.
	Receipt Receipt
	// Cause is why the wait ended.
	Cause error
}

func (e *NotQuiescedError) Error() string {
	r := &e.Receipt
	what := "not all principals have handled it"
	switch {
	case len(r.Running) > 0:
		what = fmt.Sprintf("%d operations still run: %s", r.RunningCount, firstOf(r.Running, func(l LeaseInfo) string {
			return fmt.Sprintf("lease %d of %s (%s on %s)", l.ID, l.Principal, l.Action, l.Resource)
		}))
	case len(r.Waiting) > 0:
		what = fmt.Sprintf("%d principals have a turn that has not ended: %s", r.WaitingCount, firstOf(r.Waiting, policy.Principal.String))
	case len(r.Missing) > 0:
		what = "not confirmed by " + strings.Join(r.Missing, ", ")
	}
	return fmt.Sprintf("revision %d is applied and %v: %s", r.Revision, ErrNotQuiesced, what)
}

// firstOf names the first three of a list.
func firstOf[T any](list []T, name func(T) string) string {
	var names []string
	for _, one := range list[:min(len(list), 3)] {
		names = append(names, name(one))
	}
	if len(list) > 3 {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}

// Unwrap returns [ErrNotQuiesced] and the cause.
func (e *NotQuiescedError) Unwrap() []error { return []error{ErrNotQuiesced, e.Cause} }
