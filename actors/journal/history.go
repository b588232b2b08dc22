package journal

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// The earlier value of a key has a byte in front: whether the key existed.
const (
	beforeNone  = 0
	beforeValue = 1
)

func appendBefore(b, value []byte) []byte {
	if value == nil {
		return append(b, beforeNone)
	}
	return append(append(b, beforeValue), value...)
}

func decodeBefore(place, kept []byte) ([]byte, error) {
	switch {
	case len(kept) == 1 && kept[0] == beforeNone:
		return nil, nil
	case len(kept) > 0 && kept[0] == beforeValue:
		return kept[1:], nil
	}
	return nil, damaged(placeOf(place), errors.New("it says neither that there was a value nor that there was none"))
}

// Oldest implements [oplog.History].
func (j *Journal) Oldest() uint64 {
	if tip := j.tip.Load(); tip.revision == 0 {
		return 0
	}
	return j.oldest.Load()
}

// Entries implements [oplog.History].
func (j *Journal) Entries(after uint64, yield func(*oplog.Entry) bool) error {
	leave, err := j.enter()
	if err != nil {
		return err
	}
	defer leave()
	if oldest := j.oldest.Load(); after+1 < oldest {
		return compacted(oldest)
	}
	var failed error
	err = scan(j.db, []byte{sectionEntry}, entryKey(after+1), func(key, value []byte) bool {
		doc, err := decodeEntry(key, value)
		if err == nil && doc.Previous > after {
			err = damaged(placeOf(entryKey(doc.Previous)), errors.New("it is missing"))
		}
		var e *oplog.Entry
		if err == nil {
			e, err = doc.entry(j.db, value)
		}
		if failed = err; err != nil {
			return false
		}
		after = doc.Revision
		return yield(e)
	})
	if oldest := j.oldest.Load(); failed != nil && after+1 < oldest {
		return compacted(oldest) // compacted during the read
	}
	return j.report(errors.Join(failed, err))
}

func compacted(oldest uint64) error {
	return fmt.Errorf("%w: the oldest is revision %d", oplog.ErrCompacted, oldest)
}

// At implements [oplog.History]. It blocks neither updates nor readers.
func (j *Journal) At(revision uint64, look func(policy.View)) error {
	return j.snapshot(func(s *small, snapshot *pebble.Snapshot) error {
		if revision > s.revision {
			return actors.ErrUnknownRevision
		}
		if oldest := j.oldest.Load(); revision+1 < oldest {
			return compacted(oldest)
		}
		p := &past{reader: snapshot, revision: revision}
		if err := p.load(); err != nil {
			return err
		}
		look(p)
		return p.err
	})
}

// past is a [policy.View] of an earlier revision. It is the current state, except for keys
// that changed since. Those have the value from before their first change.
type past struct {
	reader   pebble.Reader
	revision uint64
	digests  *digests // the digests it has to have
	roles    map[string]*policy.Role
	patterns *policy.PatternGrants
	holders  map[string][]policy.Principal // nil until needed
	err      error
}

func (p *past) note(err error) {
	if p.err == nil {
		p.err = err
	}
}

// load reads roles and pattern grants. It compares them, and the revoked certificates, with
// the digest in the log.
func (p *past) load() (err error) {
	if p.digests, err = digestsAt(p.reader, p.revision); err != nil {
		return err
	}
	var sum digest
	p.roles = map[string]*policy.Role{}
	err = p.section(sectionRole, func(key, value []byte) error {
		sum.add(key, value)
		r, err := decodeRole(key, value)
		if err == nil {
			p.roles[r.Name()] = r
		}
		return err
	})
	if err != nil {
		return err
	}
	var patterns []policy.Grant
	err = p.section(sectionPattern, func(key, value []byte) error {
		sum.add(key, value)
		g, err := decodePattern(key, value)
		patterns = append(patterns, g)
		return err
	})
	if err != nil {
		return err
	}
	p.patterns = policy.NewPatternGrants(patterns)
	err = p.section(sectionCertificate, func(key, value []byte) error {
		sum.add(key, value)
		return nil
	})
	if err == nil && sum != p.digests.Policy {
		err = damaged("what is kept of the past", fmt.Errorf("roles, grants to patterns and revoked certificates are not those of revision %d", p.revision))
	}
	return err
}

// section calls yield with all keys of a section that had a value at the revision.
func (p *past) section(section byte, yield func(key, value []byte) error) error {
	changed, err := p.changed(section)
	if err != nil {
		return err
	}
	var failed error
	err = scan(p.reader, []byte{section}, nil, func(key, value []byte) bool {
		if before, ok := changed[string(key)]; ok {
			delete(changed, string(key))
			if before == nil {
				return true
			}
			value = before
		}
		failed = yield(key, value)
		return failed == nil
	})
	if err := errors.Join(failed, err); err != nil {
		return err
	}
	for key, value := range changed { // removed keys
		if value != nil {
			if err := yield([]byte(key), value); err != nil {
				return err
			}
		}
	}
	return nil
}

// changed returns the earlier values of the keys of a section that changed after the
// revision, nil for keys that did not exist.
func (p *past) changed(section byte) (map[string][]byte, error) {
	values := map[string][]byte{}
	var failed error
	err := scan(p.reader, []byte{sectionBefore, section}, nil, func(kept, value []byte) bool {
		key, revision, ok := parseBeforeKey(kept)
		if !ok {
			failed = damaged(placeOf(kept), errors.New("the key is not whole"))
			return false
		}
		if _, seen := values[string(key)]; seen || revision <= p.revision {
			return true
		}
		before, err := decodeBefore(kept, value)
		values[string(key)] = bytes.Clone(before)
		failed = err
		return err == nil
	})
	return values, errors.Join(failed, err)
}

// get returns the value of a key at the revision, nil if it had none.
func (p *past) get(key []byte) []byte {
	var value []byte
	found := false
	var failed error
	prefix := beforePrefix(key)
	err := scan(p.reader, prefix, beforeKey(key, p.revision+1), func(kept, before []byte) bool {
		if of, _, ok := parseBeforeKey(kept); !ok || !bytes.Equal(of, key) {
			return true
		}
		found = true
		before, failed = decodeBefore(kept, before)
		value = bytes.Clone(before)
		return false
	})
	p.note(errors.Join(failed, err))
	if found {
		return value
	}
	value, err = read(p.reader, key)
	p.note(err)
	return value
}

// Revision implements [policy.View].
func (p *past) Revision() uint64 { return p.revision }

// Role implements [policy.View].
func (p *past) Role(name string) *policy.Role { return p.roles[name] }

// Roles implements [policy.View].
func (p *past) Roles() iter.Seq[*policy.Role] {
	return func(yield func(*policy.Role) bool) {
		for _, r := range p.roles {
			if !yield(r) {
				return
			}
		}
	}
}

// Record implements [policy.View].
func (p *past) Record(who policy.Principal) *policy.Record {
	value := p.get(recordKey(who))
	if value == nil {
		return nil
	}
	r, err := decodeRecord(who, value)
	p.note(err)
	return r
}

// Patterns implements [policy.View].
func (p *past) Patterns() *policy.PatternGrants { return p.patterns }

// Holders implements [policy.View]. The first call reads all principals.
func (p *past) Holders(role string) iter.Seq[policy.Principal] {
	if p.holders == nil {
		p.holders = map[string][]policy.Principal{}
		var sum digest
		p.note(p.section(sectionRecord, func(key, value []byte) error {
			sum.add(key, value)
			return p.hold(key, value)
		}))
		if sum != p.digests.Grants {
			p.note(damaged("what is kept of the past", fmt.Errorf("grants of principals are not those of revision %d", p.revision)))
		}
	}
	return slices.Values(p.holders[role])
}

func (p *past) hold(key, value []byte) error {
	who, err := policy.ParsePrincipal(string(key[1:]))
	if err != nil {
		return damaged(placeOf(key), err)
	}
	r, err := decodeRecord(who, value)
	if err != nil {
		return err
	}
	for i := range r.Grants {
		holders := p.holders[r.Grants[i].Role]
		if len(holders) == 0 || holders[len(holders)-1] != who { // two grants of one role
			p.holders[r.Grants[i].Role] = append(holders, who)
		}
	}
	return nil
}

// Revoked implements [policy.View].
func (p *past) Revoked(id policy.CertificateID) bool { return p.get(certificateKey(id)) != nil }
