package oplog

import "errors"

// Errors of this package, for [errors.Is].
var (
	// ErrUnavailable is wrapped when the log does not take updates. The update was not
	// applied.
	ErrUnavailable = errors.New("log unavailable")
	// ErrOutcomeUnknown is wrapped when the log took an update and gave no answer, or
	// failed. The update may take effect, now or after a restart.
	ErrOutcomeUnknown = errors.New("outcome of the update unknown")
	// ErrCompacted is wrapped when the requested revisions are no longer kept.
	ErrCompacted = errors.New("revision compacted")
	// ErrNoHistory is returned when changes are requested from a log that keeps none.
	ErrNoHistory = errors.New("log keeps no history")
	// ErrKeyReused is returned for an idempotency key that was used for another request.
	ErrKeyReused = errors.New("idempotency key used for another request")
	// ErrNoKeys is returned for an update with an idempotency key by a log that keeps none.
	ErrNoKeys = errors.New("log keeps no idempotency keys")
	// ErrTooManyKeys is returned when the log keeps as many idempotency keys as it may.
	ErrTooManyKeys = errors.New("too many idempotency keys")
)
