package journal

import (
	"errors"
	"fmt"
)

// Sentinels of this package, for [errors.Is].
var (
	// ErrFormat is wrapped when a store was written by another version of the format.
	ErrFormat = errors.New("the store has another format")
	// ErrStoreID is wrapped when store and head file are of two different stores.
	ErrStoreID = errors.New("the store is not the one that its head file belongs to")
	// ErrLocked is wrapped when another process, or this one, has the store open.
	ErrLocked = errors.New("the store is in use")
	// ErrPermissions is wrapped when others than the owner may read the store.
	ErrPermissions = errors.New("the store is open to others than its owner")
	// ErrNotWritable is wrapped when the store cannot be written.
	ErrNotWritable = errors.New("the store cannot be written")
	// ErrLost is wrapped by [*LostError].
	ErrLost = errors.New("the store lost acknowledged updates")
	// ErrDamaged is wrapped by [*DamageError].
	ErrDamaged = errors.New("the store is damaged")
	// ErrMissing is wrapped when there is no store where one has to be.
	ErrMissing = errors.New("there is no store")
	// ErrNotEmpty is wrapped when a backup would be restored over something.
	ErrNotEmpty = errors.New("the folder is not empty")
	// ErrBackup is wrapped when a backup is not whole.
	ErrBackup = errors.New("the backup is damaged")
)

// LostError says which acknowledged updates a store has not got any more. It wraps
// [ErrLost].
type LostError struct {
	// First and Last are the revisions that are gone.
	First, Last uint64
}

func (e *LostError) Error() string {
	if e.First == e.Last {
		return fmt.Sprintf("%v: revision %d is gone", ErrLost, e.Last)
	}
	return fmt.Sprintf("%v: revisions %d to %d are gone", ErrLost, e.First, e.Last)
}

// Unwrap returns [ErrLost].
func (e *LostError) Unwrap() error { return ErrLost }

// DamageError says where a store is damaged. It wraps [ErrDamaged], and Err.
type DamageError struct {
	// Place names the record or the file.
	Place string
	Err   error
}

func (e *DamageError) Error() string { return fmt.Sprintf("%v: %s: %v", ErrDamaged, e.Place, e.Err) }

// Unwrap returns [ErrDamaged] and the cause.
func (e *DamageError) Unwrap() []error { return []error{ErrDamaged, e.Err} }

func damaged(place string, err error) error { return &DamageError{Place: place, Err: err} }
