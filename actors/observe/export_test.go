package observe

// Seconds returns the number of seconds that the counters keep for leases.
func Seconds(c *Counters) (n int) {
	for i := range c.stripes {
		for s := c.stripes[i].leases.newest.Load(); s != nil; s = s.older.Load() {
			n++
		}
	}
	return n
}
