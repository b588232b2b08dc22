package journal

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/interlock-authz/interlock/actors/policy"
)

// checkManifest compares the manifest with the head file. Pebble would take damage at its
// end for a torn write and lose tables.
func (j *Journal) checkManifest(known headDoc) (manifestDoc, error) {
	description, err := pebble.Peek(j.path(storeFolder), j.options.files)
	if err != nil || !description.Exists {
		return manifestDoc{}, err
	}
	name := j.files.PathBase(description.ManifestFilename)
	number, err := strconv.ParseUint(strings.TrimPrefix(name, "MANIFEST-"), 10, 64)
	if err != nil {
		return manifestDoc{}, damaged("file "+name, err)
	}
	for _, m := range known.Manifests {
		if m.Number == number {
			return m, j.checkPrefix(description.ManifestFilename, m)
		}
	}
	return manifestDoc{}, damaged("file "+name, errors.New("the head file does not know it"))
}

func (j *Journal) checkPrefix(path string, m manifestDoc) error {
	place := "file " + j.files.PathBase(path)
	file, err := j.options.files.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return damaged(place, err)
	}
	if err != nil {
		return err
	}
	defer file.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(file, m.Length))
	if err != nil {
		return damaged(place, err)
	}
	if n < m.Length {
		return damaged(place, fmt.Errorf("it has %d bytes, and had %d", n, m.Length))
	}
	if hex.EncodeToString(sum.Sum(nil)[:16]) != m.Sum {
		return damaged(place, fmt.Errorf("its first %d bytes are not what was written", m.Length))
	}
	return nil
}

// load reads the state that is kept in memory, and checks it against head and log.
func (j *Journal) load(known headDoc) error {
	meta, err := j.loadMeta(known)
	if err != nil {
		return err
	}
	j.identity = meta.StoreID
	j.oldest.Store(meta.Oldest)
	s := small{}
	last, err := lastEntry(j.db)
	if err != nil {
		return err
	}
	if last != nil {
		s.revision, s.head = last.doc.Revision, last.hash
		s.digests, s.repeats = last.doc.Digests, last.doc.Repeats
	}
	if err := j.checkReach(known, &s); err != nil {
		return err
	}
	if err := loadPolicy(j.db, &s); err != nil {
		return err
	}
	if err := j.checkTail(&s); err != nil {
		return err
	}
	j.tip.Store(&s)
	if j.options.readOnly {
		return nil
	}
	return j.head.opened(s.revision, s.head)
}

// checkReach checks that the entry of the head file is in the store.
func (j *Journal) checkReach(known headDoc, s *small) error {
	if s.revision < known.Revision {
		return &LostError{First: s.revision + 1, Last: known.Revision}
	}
	if known.Revision < max(j.oldest.Load(), 1) {
		return nil
	}
	key := entryKey(known.Revision)
	value, err := read(j.db, key)
	if err != nil {
		return err
	}
	if value == nil || sha256.Sum256(value) != known.Entry {
		return damaged(placeOf(key), errors.New("it is not the entry that the head file names"))
	}
	return nil
}

// loadMeta reads the store's description. It writes one for a new store.
func (j *Journal) loadMeta(known headDoc) (metaDoc, error) {
	var meta metaDoc
	value, err := read(j.db, metaKey)
	if err != nil {
		return meta, err
	}
	if value == nil {
		if known.Revision > 0 {
			return meta, &LostError{First: 1, Last: known.Revision}
		}
		if j.options.readOnly {
			return meta, ErrMissing
		}
		meta = metaDoc{Format: formatVersion, StoreID: known.StoreID, Created: j.options.clock().UTC(), Oldest: 1}
		return meta, j.db.Set(metaKey, encode(&meta), pebble.Sync)
	}
	if err := decode(metaKey, value, &meta); err != nil {
		return meta, err
	}
	if meta.Format != formatVersion {
		return meta, fmt.Errorf("%w: version %d, and this interlock reads version %d", ErrFormat, meta.Format, formatVersion)
	}
	if meta.StoreID != known.StoreID {
		return meta, fmt.Errorf("%w: the store is %s, the head file is of %s", ErrStoreID, meta.StoreID, known.StoreID)
	}
	return meta, nil
}

// storedEntry is an entry as stored.
type storedEntry struct {
	doc  *entryDoc
	hash hash
	size int
}

func lastEntry(reader pebble.Reader) (last *storedEntry, err error) {
	prefix := []byte{sectionEntry}
	it, err := reader.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return nil, damaged("log", err)
	}
	if it.Last() {
		value, verr := it.ValueAndErr()
		if err = verr; err == nil {
			last, err = newStoredEntry(it.Key(), value)
		}
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil {
		return nil, damaged("log", err)
	}
	return last, nil
}

func newStoredEntry(key, value []byte) (*storedEntry, error) {
	doc, err := decodeEntry(key, value)
	if err != nil {
		return nil, err
	}
	return &storedEntry{doc: doc, hash: sha256.Sum256(value), size: len(value)}, nil
}

func lastRevision(reader pebble.Reader) (uint64, error) {
	last, err := lastEntry(reader)
	if err != nil || last == nil {
		return 0, err
	}
	return last.doc.Revision, nil
}

// loadPolicy reads roles and pattern grants. It compares them, and the revoked
// certificates, with their digest, because a missing one could have denied something.
func loadPolicy(reader pebble.Reader, s *small) error {
	var sum digest
	roles := map[string]*policy.Role{}
	var failed error
	load := func(section byte, take func(key, value []byte) error) error {
		err := scan(reader, []byte{section}, nil, func(key, value []byte) bool {
			sum.add(key, value)
			failed = take(key, value)
			return failed == nil
		})
		return errors.Join(failed, err)
	}
	err := load(sectionRole, func(key, value []byte) error {
		r, err := decodeRole(key, value)
		if err == nil {
			roles[r.Name()] = r
		}
		return err
	})
	if err != nil {
		return err
	}
	var patterns []policy.Grant
	if err := load(sectionPattern, func(key, value []byte) error {
		g, err := decodePattern(key, value)
		patterns = append(patterns, g)
		return err
	}); err != nil {
		return err
	}
	s.roles.Update(roles)
	s.patterns = policy.NewPatternGrants(patterns)
	if err := load(sectionCertificate, func(key, _ []byte) error {
		_, err := parseCertificateKey(key)
		return err
	}); err != nil {
		return err
	}
	if sum != s.digests.Policy {
		return damaged("roles, grants to patterns and revoked certificates",
			fmt.Errorf("they differ from the ones that revision %d led to", s.revision))
	}
	return nil
}

func readRevoked(reader pebble.Reader) (revoked []policy.CertificateID, err error) {
	scanned := scan(reader, []byte{sectionCertificate}, nil, func(key, _ []byte) bool {
		var id policy.CertificateID
		id, err = parseCertificateKey(key)
		revoked = append(revoked, id)
		return err == nil
	})
	return revoked, errors.Join(err, scanned)
}

// checkTail walks the hash chain back through all entries that can come from Pebble's own
// logs, and one more. Damage of those logs can remove entries from the middle.
func (j *Journal) checkTail(s *small) error {
	left := j.unflushed
	link := link{next: s.head, revision: s.revision, oldest: j.oldest.Load()}
	return link.back(j.db, func(e *storedEntry) bool {
		left -= int64(e.size)
		return left >= 0
	})
}

// link walks the hash chain from its end.
type link struct {
	next             hash
	revision, oldest uint64
}

// back calls yield with the entries from the newest to the oldest, until yield returns
// false. The error names an entry that is missing or does not match the hash in the next
// one.
func (l *link) back(reader pebble.Reader, yield func(*storedEntry) bool) error {
	prefix := []byte{sectionEntry}
	it, err := reader.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return damaged("log", err)
	}
	goOn := true
	for ok := it.Last(); ok && goOn; ok = it.Prev() {
		value, verr := it.ValueAndErr()
		if err = verr; err != nil {
			err = damaged(placeOf(it.Key()), err)
			break
		}
		var e *storedEntry
		if e, err = newStoredEntry(it.Key(), value); err != nil {
			break
		}
		if err = l.follow(e); err != nil {
			break
		}
		goOn = yield(e)
	}
	if closed := errors.Join(it.Error(), it.Close()); err == nil && closed != nil {
		err = damaged("log", closed)
	}
	if err != nil {
		return err
	}
	if goOn && l.revision >= l.oldest && l.revision > 0 {
		return damaged(placeOf(entryKey(l.revision)), errors.New("it is missing"))
	}
	return nil
}

func (l *link) follow(e *storedEntry) error {
	place := placeOf(entryKey(l.revision))
	switch {
	case e.doc.Revision != l.revision:
		return damaged(place, fmt.Errorf("it is missing; the one before is of revision %d", e.doc.Revision))
	case e.hash != l.next:
		return damaged(place, errors.New("its hash is not the one that stands in the next entry"))
	}
	l.next, l.revision = e.doc.Before, e.doc.Previous
	return nil
}

// logSize returns the size of Pebble's own logs.
func (j *Journal) logSize() (size int64, err error) {
	names, err := j.files.List(j.path(storeFolder))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		info, err := j.files.Stat(j.files.PathJoin(j.path(storeFolder), name))
		if err != nil {
			return 0, err
		}
		size += info.Size()
	}
	return size, nil
}
