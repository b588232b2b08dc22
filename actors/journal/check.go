package journal

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/interlock-authz/interlock/actors/oplog"
)

// Check reads a whole store that is not in use, without writing to it. It makes the checks
// of [Open] and of [Journal.Verify]. Errors are those of both, and [ErrMissing].
func Check(ctx context.Context, dir string, o Options) (oplog.Verification, error) {
	o.readOnly, o.Existing = true, true
	j, err := Open(dir, o)
	if err != nil {
		return oplog.Verification{}, err
	}
	v, err := j.Verify(ctx)
	return v, errors.Join(err, j.abandon())
}

// AcceptLoss opens a store that lost acknowledged updates which its head file names, and
// makes it usable again if nothing else is wrong. The store gets a new store ID, so that a
// lost revision is not mistaken for a later one.
func AcceptLoss(ctx context.Context, dir string, o Options) (oplog.Verification, error) {
	j, err := newJournal(dir, o)
	if err != nil {
		return oplog.Verification{}, err
	}
	v, err := j.accept(ctx)
	if err != nil {
		return v, errors.Join(explain(dir, err), j.abandon())
	}
	return v, j.abandon()
}

// accept opens the store with a head file that it makes from the store itself, reads
// everything, and gives the store a new ID.
func (j *Journal) accept(ctx context.Context) (v oplog.Verification, err error) {
	if err := j.checkPrivate(j.dir); err != nil {
		return v, err
	}
	if err := j.takeLock(); err != nil {
		return v, err
	}
	known, err := j.knownByStore()
	if err != nil {
		return v, err
	}
	if j.head, err = openHead(j.options.files, j.path(headFile), known); err != nil {
		return v, err
	}
	j.files.head = j.head
	found := make(chan oplog.Verification, 1)
	err = j.guarded(func() error {
		v, err := j.acceptStore(ctx, known)
		found <- v
		return err
	})
	select {
	case v = <-found:
	default: // a write failed
	}
	return v, err
}

func (j *Journal) acceptStore(ctx context.Context, known headDoc) (v oplog.Verification, err error) {
	if err := j.openStore(known); err != nil {
		return v, err
	}
	meta, err := j.storedMeta()
	if err != nil {
		return v, err
	}
	known.StoreID, j.head.doc.StoreID = meta.StoreID, meta.StoreID
	if err := j.load(known); err != nil {
		return v, err
	}
	if v, err = j.Verify(ctx); err != nil {
		return v, err
	}
	v.StoreID, err = j.rename(meta)
	return v, err
}

// knownByStore returns the head that fits the store as it is.
func (j *Journal) knownByStore() (headDoc, error) {
	description, err := pebble.Peek(j.path(storeFolder), j.options.files)
	if err != nil {
		return headDoc{}, damaged("list of the store's files", err)
	}
	if !description.Exists {
		return headDoc{}, ErrMissing
	}
	known := headDoc{}
	if old, err := readHead(j.options.files, j.path(headFile)); err == nil {
		known.Sequence = old.Sequence
	}
	m, err := manifestOf(j.options.files, description.ManifestFilename)
	known.Manifests[0] = m
	return known, err
}

func manifestOf(files vfs.FS, path string) (m manifestDoc, err error) {
	file, err := files.Open(path)
	if err != nil {
		return m, damaged("file "+files.PathBase(path), err)
	}
	defer file.Close()
	if m.Number, err = strconv.ParseUint(strings.TrimPrefix(files.PathBase(path), "MANIFEST-"), 10, 64); err != nil {
		return m, damaged("file "+files.PathBase(path), err)
	}
	sum := sha256.New()
	if m.Length, err = io.Copy(sum, file); err != nil {
		return m, damaged("file "+files.PathBase(path), err)
	}
	m.Sum = hex.EncodeToString(sum.Sum(nil)[:16])
	return m, nil
}

// storedMeta reads the description of an existing store.
func (j *Journal) storedMeta() (meta metaDoc, err error) {
	stored, err := readMeta(j.db)
	if err != nil {
		return meta, err
	}
	meta = *stored
	if meta.Format != formatVersion {
		return meta, fmt.Errorf("%w: version %d, and this interlock reads version %d", ErrFormat, meta.Format, formatVersion)
	}
	return meta, nil
}

// rename gives the store a new ID.
func (j *Journal) rename(meta metaDoc) (string, error) {
	meta.StoreID, meta.Oldest = rand.Text(), j.oldest.Load()
	if err := j.db.Set(metaKey, encode(&meta), pebble.Sync); err != nil {
		return "", err
	}
	j.head.mu.Lock()
	j.head.doc.StoreID = meta.StoreID
	j.head.mu.Unlock()
	tip := j.tip.Load()
	return meta.StoreID, errors.Join(j.head.reach(tip.revision, tip.head), j.head.sync(), j.syncFolder(j.dir))
}
