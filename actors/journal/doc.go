// Package journal is an [oplog.Log] on disk, on Pebble.
//
// An acknowledged update survives kill -9 and power loss (G5). One batch holds a group of
// updates: their log entries, the resulting state, and their idempotency keys. A group
// forms while the one before is synced. A reader can see an update that is applied and not
// synced yet. The engine acts on it only after delivery, which follows the sync.
//
// # Loss and damage
//
// Every log entry holds the hash of the entry before and the digest of the resulting state.
// A small head file next to the store names the entry that the store has to reach and the
// tables that it has to contain. A store that ends before its head does not open. Roles,
// pattern grants and revoked certificates are compared with their digest at the start. The
// grants of principals are compared by a verification in the background. The journal denies
// or rejects what it cannot read, and names it.
//
// # Failure
//
// The first failed write or sync ends the journal until a restart. Updates that were handed
// over get [oplog.ErrOutcomeUnknown], later ones get [oplog.ErrUnavailable], and nothing
// more is read from the store. docs/reliability.md lists the faults that were tried.
//
// # On disk
//
// The folder holds the file head and the folder store. keys.go and codec.go describe keys
// and documents. Documents are JSON.
package journal
