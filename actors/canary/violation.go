package canary

import (
	"fmt"
	"time"
)

// Violation is a promise that the engine has broken. It is an error.
type Violation struct {
	// Promise is the number of the promise in the documentation of package actors: G2 or G4.
	Promise string
	// What says what happened.
	What string
	// Operation is the mode of the operation: Execute, Admit, or Decide.
	Operation string
	// Decided is the revision that decided about the operation, 0 if it is not known.
	Decided uint64
	// Update is the revision of the update whose promise is broken.
	Update uint64
	// Time is when it was found.
	Time time.Time
}

func (v *Violation) Error() string {
	return fmt.Sprintf("the canary found a violation of %s at %s: %s (%s, decided at revision %d, update %d)",
		v.Promise, v.Time.UTC().Format(time.RFC3339), v.What, v.Operation, v.Decided, v.Update)
}

// finding is what an operation has noticed, before it is compared with the policy.
type finding struct {
	promise, what, operation string
	decided, update          uint64
	allowed                  bool // what the engine has answered
	certain                  bool // no policy can explain it
}
