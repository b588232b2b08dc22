package journal

import (
	"cmp"
	"encoding/binary"
	"time"

	"github.com/interlock-authz/interlock/actors/oplog"
)

// The journal keeps at most maxRepeats idempotency keys, at most maxRepeatsOfEach of one author,
// each for repeatAge.
const (
	repeatAge        = 24 * time.Hour
	maxRepeats       = 1_000_000
	maxRepeatsOfEach = 250_000
	// forgetAtOnce is the maximum number of expired keys that a new key removes.
	forgetAtOnce = 16
)

// repeatLimits bound the idempotency keys, in all and of each author.
type repeatLimits struct{ all, each int }

// repeated returns the revision of an earlier update with the same key, 0 if there is none.
func (t *tip) repeated(p *oplog.Proposal) (uint64, error) {
	key := repeatKey(p.Author.Principal, p.Key.Key)
	value := t.get(key)
	if value != nil {
		var doc repeatDoc
		if err := decode(key, value, &doc); err != nil {
			t.note(err)
			return 0, err
		}
		switch {
		case t.now.UnixNano()-doc.At >= int64(repeatAge):
		case doc.Request != p.Key.Request:
			return 0, oplog.ErrKeyReused
		default:
			return doc.Revision, nil
		}
	}
	full := func() bool {
		return t.repeats >= cmp.Or(t.limits.all, maxRepeats) ||
			t.repeatsOf(repeatCountKey(key)) >= uint64(cmp.Or(t.limits.each, maxRepeatsOfEach))
	}
	if full() {
		t.forget()
	}
	if full() {
		return 0, oplog.ErrTooManyKeys
	}
	return 0, nil
}

// repeatsOf returns the count at a key.
func (t *tip) repeatsOf(countKey []byte) uint64 {
	n, _ := binary.Uvarint(t.get(countKey)) // 0 for none
	return n
}

// countRepeat counts an idempotency key that is stored, or one that is removed.
func (t *tip) countRepeat(key []byte, by int) {
	t.repeats += by
	countKey := repeatCountKey(key)
	n := int(t.repeatsOf(countKey)) + by
	if n <= 0 {
		t.put(countKey, nil)
		return
	}
	t.put(countKey, binary.AppendUvarint(nil, uint64(n)))
}

// remember stores the key of an applied proposal.
func (t *tip) remember(p *oplog.Proposal) {
	if p.Key.Key == "" {
		return
	}
	t.forget()
	key := repeatKey(p.Author.Principal, p.Key.Key)
	if before := t.get(key); before != nil {
		t.drop(key, before)
	}
	doc := repeatDoc{Request: p.Key.Request, Revision: t.revision, At: t.now.UnixNano()}
	t.put(key, encode(&doc))
	t.note(t.batch.Set(repeatTimeKey(doc.At, key), nil, nil))
	t.countRepeat(key, 1)
}

// forget removes some expired keys.
func (t *tip) forget() {
	var old [][]byte
	t.note(scan(t.reader, []byte{sectionRepeatTime}, nil, func(key, _ []byte) bool {
		at, repeat := parseRepeatTimeKey(key)
		if t.now.UnixNano()-at < int64(repeatAge) || len(old) == forgetAtOnce {
			return false
		}
		old = append(old, repeat)
		return true
	}))
	for _, key := range old {
		if value := t.get(key); value != nil {
			t.drop(key, value)
		}
	}
}

// drop removes a key and its time.
func (t *tip) drop(key, value []byte) {
	var doc repeatDoc
	if err := decode(key, value, &doc); err != nil {
		t.note(err)
		return
	}
	t.put(key, nil)
	t.note(t.batch.Delete(repeatTimeKey(doc.At, key), nil))
	t.countRepeat(key, -1)
}
