package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// tip is the state that the next update builds on while a group is prepared: the applied
// state, and over it the batch of the group. It belongs to the writer.
type tip struct {
	view
	batch   *pebble.Batch
	written map[string][]byte         // by the batch; nil for removed keys
	recent  map[policy.Principal]kept // of earlier groups
	records map[policy.Principal]kept // read from the store, or in the batch
	holders map[string]map[policy.Principal]bool
	now     time.Time
	limits  repeatLimits
	scratch []byte
}

// reset begins a new batch on a state. It drops maps that many changes have made large.
func (t *tip) reset(db *pebble.DB, s small, recent map[policy.Principal]kept, limits repeatLimits, now time.Time) {
	const most = 1024
	if t.written == nil || len(t.written)+len(t.records)+len(t.holders) > most {
		t.written, t.records, t.scratch = map[string][]byte{}, map[policy.Principal]kept{}, nil
		t.holders = map[string]map[policy.Principal]bool{}
	}
	clear(t.written)
	clear(t.records)
	clear(t.holders)
	t.view = view{small: s, reader: db}
	t.batch, t.recent, t.limits, t.now = db.NewBatch(), recent, limits, now
}

// get returns the value of a key in the batch or, if the batch does not have it, in the
// store.
func (t *tip) get(key []byte) []byte {
	if value, ok := t.written[string(key)]; ok {
		return value
	}
	return t.view.get(key)
}

// put sets a key, or removes it if value is nil.
func (t *tip) put(key, value []byte) {
	t.written[string(key)] = value
	if value == nil {
		t.note(t.batch.Delete(key, nil))
		return
	}
	t.note(t.batch.Set(key, value, nil))
}

// change puts a key of the state, or removes it if value is nil.
func (t *tip) change(key, value []byte) {
	before := t.get(key)
	t.written[string(key)] = value
	t.replace(key, before, value)
}

// replace sets a key of the state whose value was before. It updates the digests and keeps
// the earlier value.
func (t *tip) replace(key, before, value []byte) {
	d := t.digests.of(key[0])
	if before != nil {
		d.remove(key, before)
	}
	if value != nil {
		d.add(key, value)
		t.note(t.batch.Set(key, value, nil))
	} else {
		t.note(t.batch.Delete(key, nil))
	}
	t.scratch = appendBeforeKey(t.scratch[:0], key, t.revision)
	n := len(t.scratch)
	t.scratch = appendBefore(t.scratch, before)
	t.note(t.batch.Set(t.scratch[:n], t.scratch[n:], nil))
}

// Record implements [policy.View].
func (t *tip) Record(p policy.Principal) *policy.Record { return t.kept(p).record }

func (t *tip) kept(p policy.Principal) kept {
	if k, ok := t.records[p]; ok {
		return k
	}
	k, ok := t.recent[p]
	if !ok {
		k.record, k.value = t.record(p)
	}
	t.records[p] = k
	return k
}

// Holders implements [policy.View].
func (t *tip) Holders(role string) iter.Seq[policy.Principal] {
	return func(yield func(policy.Principal) bool) {
		changed := t.holders[role]
		for p, holds := range changed {
			if holds && !yield(p) {
				return
			}
		}
		for p := range t.view.Holders(role) {
			if _, ok := changed[p]; !ok && !yield(p) {
				return
			}
		}
	}
}

// Revoked implements [policy.View].
func (t *tip) Revoked(id policy.CertificateID) bool { return t.get(certificateKey(id)) != nil }

// apply adds a proposal to the batch, or refuses it. An error of the store, in err, makes
// the whole batch unusable.
func (t *tip) apply(p *oplog.Proposal) oplog.Outcome {
	refused := func(err error) oplog.Outcome {
		return p.Refused(err, t.revision)
	}
	if p.Key.Key != "" {
		revision, err := t.repeated(p)
		if err != nil {
			return refused(err)
		}
		if revision > 0 {
			return p.AppliedBefore(revision)
		}
	}
	d, err := p.Draft(t)
	if err != nil {
		return refused(err)
	}
	previous := t.revision
	t.revision = d.Revision()
	t.changePolicy(d)
	t.changeRecords(d)
	t.remember(p)
	t.enter(p, previous)
	return p.Applied(d)
}

func (t *tip) changePolicy(d *policy.Draft) {
	t.roles.Update(d.RolesPut)
	for name, r := range d.RolesPut {
		var value []byte
		if r != nil {
			value = encode(policy.SpecOfRole(r))
		}
		t.change(roleKey(name), value)
	}
	t.changePatterns(d)
	for _, id := range d.Certificates(true) {
		t.change(certificateKey(id), binary.AppendUvarint(nil, t.revision))
	}
	for _, id := range d.Certificates(false) {
		t.change(certificateKey(id), nil)
	}
}

func (t *tip) changePatterns(d *policy.Draft) {
	last := map[string]*policy.Grant{} // the grant that a key has after all edits, nil for none
	for _, e := range d.PatternEdits {
		last[string(patternKey(e.Grant))] = e.Grant
		if e.Removed {
			last[string(patternKey(e.Grant))] = nil
		}
	}
	for key, g := range last {
		var value []byte
		if g != nil {
			value = encode(policy.SpecOfGrant(g))
		}
		if !bytes.Equal(t.get([]byte(key)), value) {
			t.change([]byte(key), value)
		}
	}
	t.patterns = d.Patterns()
}

func (t *tip) changeRecords(d *policy.Draft) {
	for p, r := range d.Records {
		if r == nil || r.Revision != t.revision {
			continue
		}
		before, value := t.kept(p), appendRecord(nil, r)
		t.replace(recordKey(p), before.value, value)
		t.changeHolder(p, before.record, r)
		t.records[p] = kept{r, value}
	}
}

// changeHolder updates the index of holders where two records differ.
func (t *tip) changeHolder(p policy.Principal, before, after *policy.Record) {
	if before != nil && slices.EqualFunc(before.Grants, after.Grants, func(a, b policy.Grant) bool { return a.Role == b.Role }) {
		return
	}
	const had, has = 1, 2
	roles := map[string]int{}
	if before != nil {
		for i := range before.Grants {
			roles[before.Grants[i].Role] |= had
		}
	}
	for i := range after.Grants {
		roles[after.Grants[i].Role] |= has
	}
	for role, when := range roles {
		if when != had|has {
			t.hold(role, p, when == has)
		}
	}
}

// hold sets whether a principal holds a role.
func (t *tip) hold(role string, p policy.Principal, holds bool) {
	if t.holders[role] == nil {
		t.holders[role] = map[policy.Principal]bool{}
	}
	t.holders[role][p] = holds
	if key := holderKey(role, p); holds {
		t.note(t.batch.Set(key, nil, nil))
	} else {
		t.note(t.batch.Delete(key, nil))
	}
}

// enter adds the log entry, which completes the update.
func (t *tip) enter(p *oplog.Proposal, previous uint64) {
	doc := entryDoc{
		Revision: t.revision, Previous: previous, Time: t.now, Count: len(p.Changes),
		Author: p.Author.Principal.String(), Credential: p.Author.Credential,
		Digests: t.digests, Repeats: t.repeats, Before: t.head,
	}
	if len(p.Changes) > chunkSize {
		doc.Chunks = t.enterChunks(p.Changes)
	}
	t.scratch = appendEntry(t.scratch[:0], &doc, p.Changes)
	t.note(t.batch.Set(entryKey(t.revision), t.scratch, nil))
	t.head = sha256.Sum256(t.scratch)
}

// enterChunks adds the changes of a large update as chunks, and returns their hashes.
func (t *tip) enterChunks(changes []policy.Change) []hash {
	var hashes []hash
	for chunk := range slices.Chunk(changes, chunkSize) {
		t.scratch = appendChanges(t.scratch[:0], chunk)
		t.note(t.batch.Set(chunkKey(t.revision, len(hashes)), t.scratch, nil))
		hashes = append(hashes, sha256.Sum256(t.scratch))
	}
	return hashes
}
