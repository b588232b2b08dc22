package journal

import (
	"errors"
	"fmt"
)

// Errors of this package, for [errors.Is].
var (
	// ErrFormat is wrapped when another version of the format wrote the store.
	ErrFormat = errors.New("store has another format")
	// ErrStoreID is wrapped when store and head file belong to different stores.
	ErrStoreID = errors.New("store and head file do not belong together")
	// ErrLocked is wrapped when this or another process has the store open.
	ErrLocked = errors.New("store is in use")
	// ErrPermissions is wrapped when other users may read the store.
	ErrPermissions = errors.New("store is accessible to other users")
	// ErrNotWritable is wrapped when the store cannot be written.
	ErrNotWritable = errors.New("store is not writable")
	// ErrLost is wrapped by [*LostError].
	ErrLost = errors.New("store lost acknowledged updates")
	// ErrDamaged is wrapped by [*DamageError].
	ErrDamaged = errors.New("store is damaged")
	// ErrMissing is wrapped when there is no store.
	ErrMissing = errors.New("no store")
	// ErrNotEmpty is wrapped when a backup would be restored over existing files.
	ErrNotEmpty = errors.New("folder is not empty")
	// ErrBackup is wrapped when a backup is damaged or incomplete.
	ErrBackup = errors.New("backup is damaged")
)

// LostError names the acknowledged updates that a store has lost. It wraps [ErrLost].
type LostError struct {
	// First and Last are the lost revisions.
	First, Last uint64
}

func (e *LostError) Error() string {
	if e.First == e.Last {
		return fmt.Sprintf("%v: revision %d is missing", ErrLost, e.Last)
	}
	return fmt.Sprintf("%v: revisions %d to %d are missing", ErrLost, e.First, e.Last)
}

// Unwrap returns [ErrLost].
func (e *LostError) Unwrap() error { return ErrLost }

// DamageError names a damaged record or file. It wraps [ErrDamaged] and Err.
type DamageError struct {
	// Place names the record or the file.
	Place string
	Err   error
}

func (e *DamageError) Error() string { return fmt.Sprintf("%v: %s: %v", ErrDamaged, e.Place, e.Err) }

// Unwrap returns [ErrDamaged] and the cause.
func (e *DamageError) Unwrap() []error { return []error{ErrDamaged, e.Err} }

func damaged(place string, err error) error { return &DamageError{Place: place, Err: err} }
