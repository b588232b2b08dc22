package journal

import "github.com/interlock-authz/interlock/actors/policy"

// kept is a record and its encoded value. Both are nil if there is no record.
type kept struct {
	record *policy.Record
	value  []byte
}

// recentSize bounds the memory of what was changed last, in bytes.
const recentSize = 4 << 20

// recent caches the records that were changed last, so that the next change of the same
// principal does not read the store. It belongs to the writer.
type recent struct {
	records map[policy.Principal]kept
	size    int
}

// take adds the records of an applied group. It starts over when the cache is full.
func (c *recent) take(records map[policy.Principal]kept) {
	for p, k := range records {
		c.size += len(k.value) + 256 // approximate overhead
		if c.records == nil || c.size > recentSize {
			c.records, c.size = map[policy.Principal]kept{}, 0
		}
		c.records[p] = k
	}
}
