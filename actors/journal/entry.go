package journal

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// chunkSize bounds the changes that an entry holds itself, and those in each chunk of a
// larger entry.
const chunkSize = actors.MaxListed

// entryDoc is a log entry: who changed what, when and why, the digests of the resulting
// state, and the hash of the entry before.
type entryDoc struct {
	Revision   uint64              `json:"rev"`
	Previous   uint64              `json:"previous"`
	Time       time.Time           `json:"time"`
	Author     string              `json:"author,omitempty"`
	Credential string              `json:"credential,omitempty"`
	Count      int                 `json:"count"`
	Changes    []policy.ChangeSpec `json:"changes,omitempty"`
	Chunks     []hash              `json:"chunks,omitempty"`
	Digests    digests             `json:"digests"`
	Repeats    int                 `json:"repeats"`
	Before     hash                `json:"before"`
}

// decodeEntry reads an entry and checks its revision.
func decodeEntry(key, value []byte) (*entryDoc, error) {
	doc := &entryDoc{}
	if err := decode(key, value, doc); err != nil {
		return nil, err
	}
	if string(key) != string(entryKey(doc.Revision)) {
		return nil, damaged(placeOf(key), fmt.Errorf("it holds revision %d", doc.Revision))
	}
	return doc, nil
}

// entry returns the public form of an entry. For a large update it reads the first chunk.
func (doc *entryDoc) entry(reader pebble.Reader, value []byte) (*oplog.Entry, error) {
	e := &oplog.Entry{
		Revision: doc.Revision, Previous: doc.Previous, Time: doc.Time, Changes: doc.Changes, Count: doc.Count,
		Author: oplog.Author{Credential: doc.Credential}, Hash: hash(sha256.Sum256(value)).String(),
	}
	if doc.Author != "" {
		who, err := policy.ParsePrincipal(doc.Author)
		if err != nil {
			return nil, damaged(placeOf(entryKey(doc.Revision)), err)
		}
		e.Author.Principal = who
	}
	if len(doc.Chunks) == 0 {
		return e, nil
	}
	err := doc.chunk(reader, 0, &e.Changes)
	return e, err
}

// chunk reads one of the chunks of a large update.
func (doc *entryDoc) chunk(reader pebble.Reader, n int, specs *[]policy.ChangeSpec) error {
	key := chunkKey(doc.Revision, n)
	value, err := read(reader, key)
	if err != nil {
		return err
	}
	if sha256.Sum256(value) != doc.Chunks[n] {
		return damaged(placeOf(key), fmt.Errorf("chunk %d of its changes is not the one that was written", n))
	}
	return decode(key, value, specs)
}
