package actors

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"github.com/interlock-authz/interlock/actors/oplog"
)

// callers are the updates of this engine that wait for their outcomes. It is safe for
// concurrent use.
type callers struct {
	mu     sync.Mutex
	prefix uint64 // random: IDs differ between engines and between restarts
	last   uint64
	by     map[oplog.ProposalID]*updateCaller
}

// updateCaller is a caller of an update.
type updateCaller struct {
	reply chan<- answer
	asked time.Time
}

func newCallers() *callers {
	var prefix [8]byte
	rand.Read(prefix[:]) // never fails, by its contract
	return &callers{prefix: binary.BigEndian.Uint64(prefix[:]), by: map[oplog.ProposalID]*updateCaller{}}
}

// add registers a caller under a new ID. Its reply is sent at most once and never blocks the
// sender.
func (c *callers) add() (oplog.ProposalID, <-chan answer) {
	reply, asked := make(chan answer, 1), time.Now()
	var id oplog.ProposalID
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	binary.BigEndian.PutUint64(id[:8], c.prefix)
	binary.BigEndian.PutUint64(id[8:], c.last)
	c.by[id] = &updateCaller{reply: reply, asked: asked}
	return id, reply
}

// take removes the caller and returns it, nil if it is not there.
func (c *callers) take(id oplog.ProposalID) *updateCaller {
	c.mu.Lock()
	defer c.mu.Unlock()
	caller := c.by[id]
	delete(c.by, id)
	return caller
}

// takeAll removes all callers.
func (c *callers) takeAll() []*updateCaller {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*updateCaller, 0, len(c.by))
	for _, caller := range c.by {
		all = append(all, caller)
	}
	clear(c.by)
	return all
}
