// Package journal is the durable log of an engine: an [oplog.Log] on disk, on Pebble.
//
// An update that was acknowledged survives kill -9 and the loss of power (G5). One batch
// holds a group of updates: the log, the state that it leads to, and the keys of requests.
// Groups form while the one before is being synced. What was applied and is not yet synced
// can be read here already; the engine acts on nothing before it is delivered, and it is
// delivered after the sync.
//
// # Loss and damage
//
// Every entry of the log holds the hash of the one before, and the digest of the state that
// it led to. A small head file beside the store says which entry the store has to reach,
// and which tables it has to know: a store that ends before its head does not open. Roles,
// grants to patterns and revoked certificates are compared with their digest at the start;
// the grants of principals by a verification that runs beside the service. What cannot be
// read is denied or refused, and named.
//
// # Failure
//
// The first write or sync that fails ends the journal until a restart: what was handed over
// gets [oplog.ErrOutcomeUnknown], what comes later [oplog.ErrUnavailable], and nothing is read
// from the store any more. docs/reliability.md says what was tried.
//
// # On disk
//
// In the folder stand the file head and the folder store. Keys and documents are described
// in keys.go and codec.go; documents are JSON.
package journal
