package journal

import (
	"errors"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/interlock-authz/interlock/actors/policy"
)

// small is the part of a state that is in memory: everything but the grants of principals
// and the revoked certificates. It is immutable.
type small struct {
	revision uint64
	head     hash // of the last entry
	roles    policy.Roles
	patterns *policy.PatternGrants
	digests  digests
	repeats  int // number of idempotency keys
}

// view is a [policy.View] of the store. Its methods cannot return errors. The first error
// stays in err, and makes everything that the view returned invalid. It belongs to one
// goroutine at a time.
type view struct {
	small
	reader pebble.Reader
	err    error
}

// get returns the value of a key, nil if there is none.
func (v *view) get(key []byte) []byte {
	value, err := read(v.reader, key)
	v.note(err)
	return value
}

func (v *view) note(err error) {
	if v.err == nil {
		v.err = err
	}
}

// read returns a copy of the value of a key, nil if there is none.
func read(reader pebble.Reader, key []byte) ([]byte, error) {
	value, closer, err := reader.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, damaged(placeOf(key), err)
	}
	copied := append([]byte{}, value...)
	if err := closer.Close(); err != nil {
		return nil, damaged(placeOf(key), err)
	}
	return copied, nil
}

// scan calls yield with all keys of a prefix from start on, in order, until it returns
// false. Key and value are valid during the call.
func scan(reader pebble.Reader, prefix, start []byte, yield func(key, value []byte) bool) error {
	if start == nil {
		start = prefix
	}
	it, err := reader.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: after(prefix)})
	if err != nil {
		return damaged("records from "+placeOf(start), err)
	}
	place := placeOf(start)
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(damaged(placeOf(it.Key()), err), it.Close())
		}
		if !yield(it.Key(), value) {
			break
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return damaged("records from "+place, err)
	}
	return nil
}

// Revision implements [policy.View].
func (v *view) Revision() uint64 { return v.revision }

// Role implements [policy.View].
func (v *view) Role(name string) *policy.Role { return v.roles.Get(name) }

// Roles implements [policy.View].
func (v *view) Roles() iter.Seq[*policy.Role] { return v.roles.All() }

// Patterns implements [policy.View].
func (v *view) Patterns() *policy.PatternGrants { return v.patterns }

// Record implements [policy.View].
func (v *view) Record(p policy.Principal) *policy.Record {
	r, _ := v.record(p)
	return r
}

// record returns a principal's record and its encoded value.
func (v *view) record(p policy.Principal) (*policy.Record, []byte) {
	value := v.get(recordKey(p))
	if value == nil {
		return nil, nil
	}
	r, err := decodeRecord(p, value)
	v.note(err)
	return r, value
}

// Holders implements [policy.View].
func (v *view) Holders(role string) iter.Seq[policy.Principal] {
	return func(yield func(policy.Principal) bool) {
		prefix := holderPrefix(role)
		v.note(scan(v.reader, prefix, nil, func(key, _ []byte) bool {
			p, err := policy.ParsePrincipal(string(key[len(prefix):]))
			if err != nil {
				v.note(damaged(placeOf(key), err))
				return false
			}
			return yield(p)
		}))
	}
}

// Revoked implements [policy.View].
func (v *view) Revoked(id policy.CertificateID) bool { return v.get(certificateKey(id)) != nil }
