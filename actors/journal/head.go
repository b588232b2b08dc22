package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/go-json-experiment/json"
)

// The head file says how far the store has to reach. It has two slots, each within one
// block of a disk, written in turn, so one of them is always whole. A slot is its length, a
// document, and the SHA-256 of both.
const (
	headSlots    = 2
	headSlotSize = 4096
	// headBlock is the size of a slot. A larger write would not be atomic.
	headBlock = 512
)

// headDoc is the document of a slot.
type headDoc struct {
	Sequence uint64 `json:"n"`
	StoreID  string `json:"identity"`
	// Revision and Entry identify the last entry that is acknowledged or about to be.
	Revision uint64 `json:"rev"`
	Entry    hash   `json:"entry"`
	// Manifests are the two newest manifests, as far as they were synced. Pebble would take
	// damage at the end of one for a torn write.
	Manifests [2]manifestDoc `json:"manifests"`
	// Unchecked is the size of Pebble's own logs at starts that did not finish. Pebble has
	// replayed them, and nothing has checked yet whether they are complete.
	Unchecked int64 `json:"unchecked,omitzero"`
}

type manifestDoc struct {
	Number uint64 `json:"n"`
	Length int64  `json:"len"`
	Sum    string `json:"sum"`
}

// head is the open head file. It is safe for concurrent use.
type head struct {
	mu    sync.Mutex
	file  vfs.File
	doc   headDoc
	slot  [headBlock]byte // the last that was written
	dirty bool
	shut  bool

	syncing sync.Mutex // held while the file is synced, and not within mu
}

// errHeadClosed is returned by a write after close, which happens when an Open has failed
// in another of its goroutines.
var errHeadClosed = errors.New("the head file is closed")

// errNoHead is returned for a missing or empty head file.
var errNoHead = errors.New("there is no head file")

// readHead reads the newest whole slot.
func readHead(files vfs.FS, path string) (headDoc, error) {
	file, err := files.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return headDoc{}, errNoHead
	}
	if err != nil {
		return headDoc{}, err
	}
	defer file.Close()
	data, err := io.ReadAll(file)
	if err != nil {
		return headDoc{}, err
	}
	var newest headDoc
	blank := true
	for i := range headSlots {
		slot := data[min(len(data), i*headSlotSize):min(len(data), i*headSlotSize+headBlock)]
		for _, b := range slot {
			blank = blank && b == 0
		}
		if doc, ok := decodeSlot(slot); ok && doc.Sequence > newest.Sequence {
			newest = doc
		}
	}
	if blank {
		return headDoc{}, errNoHead
	}
	if newest.Sequence == 0 {
		return headDoc{}, damaged("head file "+path, errors.New("neither of its slots is whole"))
	}
	return newest, nil
}

func decodeSlot(slot []byte) (doc headDoc, ok bool) {
	if len(slot) < 4+sha256.Size {
		return doc, false
	}
	n := int(binary.BigEndian.Uint32(slot))
	if n > len(slot)-4-sha256.Size {
		return doc, false
	}
	sum := sha256.Sum256(slot[:4+n])
	if string(sum[:]) != string(slot[4+n:4+n+sha256.Size]) {
		return doc, false
	}
	return doc, json.Unmarshal(slot[4:4+n], &doc, json.RejectUnknownMembers(true)) == nil
}

func encodeSlot(slot *[headBlock]byte, doc *headDoc) error {
	clear(slot[:])
	text := appendHead(slot[:4], doc)
	if len(text)+sha256.Size > headBlock {
		return fmt.Errorf("a head of %d bytes does not fit into its slot", len(text)+sha256.Size)
	}
	binary.BigEndian.PutUint32(text, uint32(len(text)-4))
	sum := sha256.Sum256(text)
	copy(slot[len(text):], sum[:])
	return nil
}

// openHead opens the head file for writing, with doc as its last document.
func openHead(files vfs.FS, path string, doc headDoc) (*head, error) {
	file, err := files.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return &head{file: file, doc: doc}, nil
}

// reach writes that the store reaches an entry. It does not sync.
func (h *head) reach(revision uint64, entry hash) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.doc.Revision, h.doc.Entry = revision, entry
	return h.write()
}

// begin writes, before the store opens, which manifest it uses and how many bytes of its
// logs are unchecked. It drops manifests that were never used.
func (h *head) begin(m manifestDoc, unchecked int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.doc.Manifests, h.doc.Unchecked = [2]manifestDoc{m}, unchecked
	return h.write()
}

// opened writes that the store was found whole up to an entry.
func (h *head) opened(revision uint64, entry hash) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.doc.Revision, h.doc.Entry, h.doc.Unchecked = revision, entry, 0
	return h.write()
}

// manifest writes how far a manifest was synced, and syncs the head. Pebble is about to use
// the manifest and to remove what it replaces.
func (h *head) manifest(m manifestDoc) error {
	h.mu.Lock()
	newest := &h.doc.Manifests
	if newest[0].Number != m.Number {
		newest[1] = newest[0]
	}
	newest[0] = m
	err := h.write()
	h.mu.Unlock()
	if err != nil {
		return err
	}
	return h.sync()
}

func (h *head) write() error {
	if h.shut {
		return errHeadClosed
	}
	h.doc.Sequence++
	if err := encodeSlot(&h.slot, &h.doc); err != nil {
		return err
	}
	h.dirty = true
	_, err := h.file.WriteAt(h.slot[:], int64(h.doc.Sequence%headSlots)*headSlotSize)
	return err
}

// sync makes the last document survive power loss.
func (h *head) sync() error {
	h.syncing.Lock() // a caller with nothing to sync waits for the sync that runs
	defer h.syncing.Unlock()
	h.mu.Lock()
	dirty := h.dirty
	h.dirty = false
	h.mu.Unlock()
	if !dirty {
		return nil
	}
	return h.file.Sync()
}

// close waits for running writes, syncs and closes the file.
func (h *head) close() error {
	err := h.sync()
	h.syncing.Lock()
	defer h.syncing.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shut, h.dirty = true, false
	return errors.Join(err, h.file.Close())
}
