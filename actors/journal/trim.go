package journal

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// trimAtOnce bounds the entries that one batch removes, so that updates wait only briefly.
const trimAtOnce = 256

// keepTrimming removes entries beyond the limits of the log once a minute.
func (j *Journal) keepTrimming() {
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	for {
		select {
		case <-minute.C:
			if err := j.Trim(); err != nil && !errors.Is(err, oplog.ErrUnavailable) {
				j.log.Warn("old entries of the log cannot be removed", "error", err)
			}
		case <-j.stopping:
			return
		case <-j.failed:
			return
		}
	}
}

// Trim removes the entries beyond the limits of Options.Keep, and everything that only they
// need. It returns when they are removed. Updates continue meanwhile.
func (j *Journal) Trim() error {
	for {
		before := j.oldest.Load()
		done := make(chan error, 1)
		select {
		case j.trim <- done:
		case <-j.stopping:
			return fmt.Errorf("%w: it is closed", oplog.ErrUnavailable)
		case <-j.failed:
			return fmt.Errorf("%w: it failed before", oplog.ErrUnavailable)
		}
		select {
		case err := <-done:
			if err != nil || j.oldest.Load() == before {
				return err
			}
		case <-j.failed:
			return fmt.Errorf("%w: it failed before", oplog.ErrUnavailable)
		}
	}
}

// trimSome removes some entries. It runs in the writer.
func (j *Journal) trimSome() error {
	j.making.mu.Lock()
	defer j.making.mu.Unlock()
	batch := j.db.NewBatch()
	defer func() { _ = batch.Close() }() // it only holds memory
	meta, err := readMeta(j.db)
	if err != nil {
		return j.report(err)
	}
	if err := j.trimInto(batch, meta); err != nil || batch.Empty() {
		return j.report(err)
	}
	if err := batch.Set(metaKey, encode(meta), nil); err != nil {
		return err
	}
	// Readers get ErrCompacted from here on. Then the entries are removed.
	j.oldest.Store(meta.Oldest)
	return j.db.Apply(batch, pebble.NoSync)
}

// trimInto adds the removals to the batch, and the new beginning of the log.
func (j *Journal) trimInto(batch *pebble.Batch, meta *metaDoc) error {
	tip := j.tip.Load()
	n := 0
	var failed error
	err := scan(j.db, []byte{sectionEntry}, entryKey(meta.Oldest), func(key, value []byte) bool {
		e, err := newStoredEntry(key, value)
		if failed = err; err != nil {
			return false
		}
		meta.Oldest = e.doc.Revision
		if e.doc.Revision == tip.revision || n == trimAtOnce || !j.old(e, tip.revision) {
			return false
		}
		n++
		meta.Base = e.doc.Digests
		failed = j.remove(batch, e.doc)
		return failed == nil
	})
	return errors.Join(failed, err)
}

// old reports whether an entry is beyond the limits. Revisions have no gaps in this log, so
// they count entries.
func (j *Journal) old(e *storedEntry, newest uint64) bool {
	keep, age := j.options.Keep, j.options.clock().Sub(e.doc.Time)
	return keep.Count > 0 && newest-e.doc.Revision >= uint64(keep.Count) && age >= keep.MinAge ||
		keep.Age > 0 && age > keep.Age
}

// remove removes an entry, its chunks, and the earlier values that its changes replaced.
func (j *Journal) remove(batch *pebble.Batch, doc *entryDoc) error {
	if err := j.removeBefore(batch, doc.Revision, doc.Changes); err != nil {
		return err
	}
	for n := range doc.Chunks {
		var err error
		var chunk entryDoc
		if err = doc.chunk(j.db, n, &chunk.Changes); err == nil {
			err = j.removeBefore(batch, doc.Revision, chunk.Changes)
		}
		if err = errors.Join(err, batch.Delete(chunkKey(doc.Revision, n), nil)); err != nil {
			return err
		}
	}
	return batch.Delete(entryKey(doc.Revision), nil)
}

// removeBefore removes earlier values, by the keys that the changes name.
func (j *Journal) removeBefore(batch *pebble.Batch, revision uint64, specs []policy.ChangeSpec) error {
	for i := range specs {
		c, err := specs[i].Change()
		if err != nil {
			return damaged(placeOf(entryKey(revision)), err)
		}
		for _, key := range changedKeys(&c) {
			if err := batch.Delete(beforeKey(key, revision), nil); err != nil {
				return err
			}
		}
		if c.Op == policy.OpRevoke && !c.Grant.Principals.IsZero() {
			if err := j.removeBeforePatterns(batch, revision, &c.Grant); err != nil {
				return err
			}
		}
	}
	return nil
}

func changedKeys(c *policy.Change) [][]byte {
	switch {
	case c.Op == policy.OpPutRole:
		return [][]byte{roleKey(c.Role.Name())}
	case c.Op == policy.OpDeleteRole:
		return [][]byte{roleKey(c.Name)}
	case c.Op == policy.OpRevokeCertificate, c.Op == policy.OpUnrevokeCertificate:
		return [][]byte{certificateKey(c.Certificate)}
	case c.Grant.Exact():
		return [][]byte{recordKey(c.Grant.Principal)}
	}
	return [][]byte{patternKey(&c.Grant)}
}

// removeBeforePatterns does this for a revocation that removed all pattern grants of a
// role, whatever their limits.
func (j *Journal) removeBeforePatterns(batch *pebble.Batch, revision uint64, g *policy.Grant) error {
	prefix := append([]byte{sectionBefore, sectionPattern}, g.Principals.String()+"\x00"+g.Role+"\x00"...)
	var failed error
	err := scan(j.db, prefix, nil, func(kept, _ []byte) bool {
		if _, of, ok := parseBeforeKey(kept); ok && of == revision {
			failed = batch.Delete(append([]byte{}, kept...), nil)
		}
		return failed == nil
	})
	return errors.Join(failed, err)
}
