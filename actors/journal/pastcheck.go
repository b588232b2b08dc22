package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/cockroachdb/pebble/v2"
)

// The earlier values of keys are compared with the log without a sum for every revision.
// The changes of the digests that the values imply are added up, each revision's multiplied
// by its own factor. The changes that the log states are subtracted. If the result is zero,
// both agree in every revision.
type pastCheck struct {
	seed maphash.Seed
	left digests
}

// factor is the factor of a revision: odd and unpredictable.
func (p *pastCheck) factor(revision uint64) uint64 { return maphash.Comparable(p.seed, revision) | 1 }

// replaced adds that a revision replaced a value.
func (p *pastCheck) replaced(revision uint64, key, before, after []byte) {
	d := p.left.of(key[0])
	if d == nil {
		return
	}
	factor := p.factor(revision)
	if after != nil {
		d.addTimes(element(key, after), factor)
	}
	if before != nil {
		d.addTimes(element(key, before), -factor)
	}
}

// led subtracts the change of digests that the log states for a revision.
func (p *pastCheck) led(revision uint64, from, to *digests) {
	factor := p.factor(revision)
	p.left.Policy.addTimes(from.Policy, factor)
	p.left.Policy.addTimes(to.Policy, -factor)
	p.left.Grants.addTimes(from.Grants, factor)
	p.left.Grants.addTimes(to.Grants, -factor)
}

// past checks that the earlier values match the log.
func (c *checker) past(meta *metaDoc) error {
	p := &pastCheck{seed: maphash.MakeSeed()}
	if err := c.pastValues(p, meta.Oldest); err != nil {
		return err
	}
	from := meta.Base
	var failed error
	err := scan(c.reader, []byte{sectionEntry}, entryKey(meta.Oldest), func(key, value []byte) bool {
		var e *storedEntry
		if e, failed = newStoredEntry(key, value); failed != nil {
			return false
		}
		p.led(e.doc.Revision, &from, &e.doc.Digests)
		from = e.doc.Digests
		return c.goOn()
	})
	if err := errors.Join(failed, err); err != nil || c.ctx.Err() != nil {
		return err
	}
	if p.left != (digests{}) {
		return damaged("what is kept of the past", errors.New("it is not what the log tells of"))
	}
	return nil
}

// pastValues visits the earlier values, key by key, oldest first. The next value of a key,
// or its current one, is what replaced it.
func (c *checker) pastValues(p *pastCheck, oldest uint64) error {
	var key, before []byte // of the value that was read last
	var revision uint64
	var failed error
	follow := func(after []byte) {
		if revision >= oldest {
			p.replaced(revision, key, before, after)
		}
	}
	end := func() error {
		if key == nil {
			return nil
		}
		now, err := read(c.reader, key)
		follow(now)
		return err
	}
	err := scan(c.reader, []byte{sectionBefore}, nil, func(kept, value []byte) bool {
		next, at, ok := parseBeforeKey(kept)
		if !ok {
			failed = damaged(placeOf(kept), errors.New("the key is not whole"))
			return false
		}
		var replaced []byte
		if replaced, failed = decodeBefore(kept, value); failed != nil {
			return false
		}
		if string(next) == string(key) {
			follow(replaced)
		} else if failed = end(); failed != nil {
			return false
		}
		key, before, revision = append(key[:0:0], next...), cloned(replaced), at
		return c.goOn()
	})
	if err := errors.Join(failed, err); err != nil {
		return err
	}
	return end()
}

// cloned copies a value; nil stays nil.
func cloned(value []byte) []byte {
	if value == nil {
		return nil
	}
	return append([]byte{}, value...)
}

// repeats checks the numbers of idempotency keys and the index of their times.
func (c *checker) repeats(s *small) error {
	var left, counts digest
	n, of := 0, uint64(0) // all, and those of the author
	var failed error
	var author []byte
	count := func() {
		if of > 0 {
			counts.add(author, binary.AppendUvarint(nil, of))
		}
	}
	err := scan(c.reader, []byte{sectionRepeat}, nil, func(key, value []byte) bool {
		if next := repeatCountKey(key); !bytes.Equal(next, author) {
			count()
			author, of = next, 0
		}
		of++
		var doc repeatDoc
		if failed = decode(key, value, &doc); failed != nil {
			return false
		}
		left.add(repeatTimeKey(doc.At, key), nil)
		n++
		return c.goOn()
	})
	if err := errors.Join(failed, err); err != nil || c.ctx.Err() != nil {
		return err
	}
	count()
	err = scan(c.reader, []byte{sectionRepeatTime}, nil, func(key, _ []byte) bool {
		left.remove(key, nil)
		return c.goOn()
	})
	err = errors.Join(err, scan(c.reader, []byte{sectionRepeatCount}, nil, func(key, value []byte) bool {
		counts.remove(key, value)
		return c.goOn()
	}))
	if err != nil || c.ctx.Err() != nil {
		return err
	}
	if n != s.repeats || left != (digest{}) {
		return damaged("keys of requests", fmt.Errorf("there are %d, and have to be %d", n, s.repeats))
	}
	if counts != (digest{}) {
		return damaged("keys of requests", errors.New("their count for an author is wrong"))
	}
	return nil
}

// digestsAt returns the digests that the state at a revision has to have.
func digestsAt(reader pebble.Reader, revision uint64) (*digests, error) {
	it, err := reader.NewIter(&pebble.IterOptions{LowerBound: entryKey(0), UpperBound: entryKey(revision + 1)})
	if err != nil {
		return nil, damaged("log", err)
	}
	var last *storedEntry
	if it.Last() {
		value, verr := it.ValueAndErr()
		if err = verr; err == nil {
			last, err = newStoredEntry(it.Key(), value)
		}
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil {
		return nil, damaged("log", err)
	}
	if last != nil {
		return &last.doc.Digests, nil
	}
	meta, err := readMeta(reader)
	if err != nil {
		return nil, err
	}
	return &meta.Base, nil
}

// readMeta reads the description of an existing store.
func readMeta(reader pebble.Reader) (*metaDoc, error) {
	value, err := read(reader, metaKey)
	if err != nil {
		return nil, err
	}
	meta := &metaDoc{}
	if value == nil {
		return nil, damaged(placeOf(metaKey), errors.New("it is missing"))
	}
	return meta, decode(metaKey, value, meta)
}
