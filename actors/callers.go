package actors

import (
	"crypto/rand"
	"encoding/binary"
	"sync"

	"github.com/interlock-authz/interlock/actors/oplog"
)

// callers are the updates of this engine that wait for their outcomes. It is safe for
// concurrent use.
type callers struct {
	mu     sync.Mutex
	prefix uint64 // random: IDs differ between engines and between restarts
	last   uint64
	by     map[oplog.ProposalID]chan<- answer
}

func newCallers() *callers {
	var prefix [8]byte
	rand.Read(prefix[:]) // never fails, by its contract
	return &callers{prefix: binary.BigEndian.Uint64(prefix[:]), by: map[oplog.ProposalID]chan<- answer{}}
}

// add registers a caller under a new ID. Its reply is sent at most once and never blocks the
// sender.
func (c *callers) add() (oplog.ProposalID, <-chan answer) {
	reply := make(chan answer, 1)
	var id oplog.ProposalID
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	binary.BigEndian.PutUint64(id[:8], c.prefix)
	binary.BigEndian.PutUint64(id[8:], c.last)
	c.by[id] = reply
	return id, reply
}

// take removes the caller and returns its channel, nil if it is not there.
func (c *callers) take(id oplog.ProposalID) chan<- answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	reply := c.by[id]
	delete(c.by, id)
	return reply
}

// takeAll removes all callers.
func (c *callers) takeAll() []chan<- answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]chan<- answer, 0, len(c.by))
	for _, reply := range c.by {
		all = append(all, reply)
	}
	clear(c.by)
	return all
}
