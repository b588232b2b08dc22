package oplog

import (
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Outcome is the result of a proposal: an error, or what changed at which revision. The log
// and the engine must not change it after delivery.
type Outcome struct {
	// ID is the proposal's. An engine that did not make the proposal applies the outcome all
	// the same.
	ID ProposalID
	// Err, if not nil, says why the proposal was not applied. [ErrOutcomeUnknown] says that
	// this is not known.
	Err error
	// Revision is the update's own. With Err it is the tip's; if Repeated is set it is that
	// of the earlier update.
	Revision uint64
	// Repeated means that an earlier update had the same [IdempotencyKey], and that nothing
	// changed.
	Repeated bool

	// Change is what was applied; nil if nothing was.
	Change *Change
	// Roles holds the roles that changed, nil for a deleted one.
	Roles map[string]*policy.Role
	// Records holds the records of all principals that the change names. Where nothing
	// changed, the record has an earlier revision, or is nil.
	Records map[policy.Principal]*policy.Record
	// Patterns are the edits of the pattern grants, in their order.
	Patterns []policy.PatternEdit
	// Certificates lists the certificates that the change revoked, Unrevoked those whose
	// revocation it took back.
	Certificates, Unrevoked []policy.CertificateID
}

// Applied reports whether the outcome has a revision of its own.
func (o *Outcome) Applied() bool { return o.Err == nil && !o.Repeated }

// Entry is the record of an update in a [History].
type Entry struct {
	Revision uint64
	// Previous is the revision that the update was based on.
	Previous uint64
	Time     time.Time
	Author   Author
	// Changes holds the first changes of the update, at most 1,000; Count counts all.
	Changes []policy.ChangeSpec
	Count   int
	// Hash is the SHA-256 of this entry, in hexadecimal. It covers the hash of the entry
	// before.
	Hash string
}

// MaxListed bounds the changes that an [Entry] lists.
const MaxListed = 1000

// Verification is the result of comparing a store with its log.
type Verification struct {
	StoreID string
	// Revision is the last one, and Hash that of its entry. Kept elsewhere, they show later
	// that no entry up to there was rewritten.
	Revision uint64
	Hash     string
	// Oldest is the first revision that the log has.
	Oldest uint64
	// Entries and Principals count what was read.
	Entries, Principals int
}
