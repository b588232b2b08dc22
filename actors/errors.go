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
	// ErrNested is returned by every call of the engine that is made with the context of
	// a function that runs in a turn: it would wait for itself.
	ErrNested = errors.New("call of the engine from within a function that Execute runs")
	// ErrGoexit is returned when the function called runtime.Goexit.
	ErrGoexit = errors.New("the function ended its goroutine")
	// ErrPanicked is wrapped by [*PanicError].
	ErrPanicked = errors.New("the function panicked")
	// ErrNotQuiesced is wrapped by [*NotQuiescedError].
	ErrNotQuiesced = errors.New("not quiesced")
	// ErrPrecondition is wrapped when a condition of an update does not hold, such as the
	// revision that it was based on.
	ErrPrecondition = errors.New("precondition failed")
	// ErrUnknownRevision is returned for the receipt of a revision that was never given.
	ErrUnknownRevision = errors.New("unknown revision")
)

// Errors that are refusals: [errors.Is] of each with [ErrDenied] holds, for deny is the
// answer to every doubt.
var (
	// ErrOverloaded is returned at once when too many requests wait for one principal.
	ErrOverloaded error = refusal{"too many requests wait for this principal"}
	// ErrClosed is returned when the engine is shutting down or has shut down.
	ErrClosed error = refusal{"the engine is closed"}
	// ErrFault is returned when the engine cannot tell, because reading a principal's
	// record failed or the turn itself did.
	ErrFault error = refusal{"the engine cannot tell"}
)

type refusal struct{ text string }

func (r refusal) Error() string { return r.text }

// Is makes a refusal a denial.
func (r refusal) Is(target error) bool { return target == ErrDenied }

// ErrRevoked is the cause with which a lease's context is canceled when its operation
// lost its authority: by an update, by the expiry of a grant, or by the end of its
// credential. It is a [context.Canceled] for code that asks for that.
var ErrRevoked error = revoked{}

type revoked struct{}

func (revoked) Error() string { return "the authority to go on was revoked" }

// Is makes a revocation a cancellation.
func (revoked) Is(target error) bool { return target == context.Canceled }

// errMoved sends a poster back to the directory: the mailbox has closed.
var errMoved = errors.New("the mailbox has closed")

// DeniedError says that an operation was not allowed, and why. It wraps [ErrDenied].
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

// NotQuiescedError says that an update stands and that operations which it forbids, or
// which an earlier one did, have not ended yet. It wraps [ErrNotQuiesced].
type NotQuiescedError struct {
	// Receipt is what is known of the update; Receipt.Running lists what still runs.
	Receipt Receipt
	// Cause is why nobody waited any longer.
	Cause error
}

func (e *NotQuiescedError) Error() string {
	names := make([]string, 0, 3)
	for i, l := range e.Receipt.Running {
		if i == 3 {
			names = append(names, "…")
			break
		}
		names = append(names, fmt.Sprintf("lease %d of %s (%s on %s)", l.ID, l.Principal, l.Action, l.Resource))
	}
	what := "the principals have not all answered"
	if len(names) > 0 {
		what = fmt.Sprintf("%d operations still run: %s", len(e.Receipt.Running), strings.Join(names, ", "))
	}
	return fmt.Sprintf("revision %d stands, but is %v: %s", e.Receipt.Revision, ErrNotQuiesced, what)
}

// Unwrap returns [ErrNotQuiesced] and the cause.
func (e *NotQuiescedError) Unwrap() []error { return []error{ErrNotQuiesced, e.Cause} }
