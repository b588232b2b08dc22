package journal

import "github.com/interlock-authz/interlock/actors/policy"

// kept is a record as it stands in the store: value is what encodes it. Both are nil if
// there is none.
type kept struct {
	record *policy.Record
	value  []byte
}

// recentSize bounds the memory of what was changed last, in bytes.
const recentSize = 4 << 20

// recent holds the records that were changed last, so that the next change of the same
// principal needs no look into the store. It belongs to the writer.
type recent struct {
	records map[policy.Principal]kept
	size    int
}

// take takes in what a group was applied with. When that is too much it begins anew.
func (c *recent) take(records map[policy.Principal]kept) {
	for p, k := range records {
		c.size += len(k.value) + 256 // about what names, pointers and the place take
		if c.records == nil || c.size > recentSize {
			c.records, c.size = map[policy.Principal]kept{}, 0
		}
		c.records[p] = k
	}
}
