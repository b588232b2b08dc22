package gateway

import (
	"net/http"
	"sync/atomic"
)

// Counts are the calls that have ended since the start, by outcome.
type Counts struct {
	// OK counts answers with a status below 400, also upgrades.
	OK uint64
	// Refused counts answers with a status from 400 to 499: of the guard, of the gateway, or of an
	// upstream.
	Refused uint64
	// Failed counts answers with a status from 500.
	Failed uint64
	// Aborted counts answers that were cut off: by a revocation, the client, or the upstream.
	Aborted uint64
}

// Counts returns the numbers of calls that have ended.
func (g *Gateway) Counts() Counts {
	c := &g.calls
	return Counts{OK: c.ok.Load(), Refused: c.refused.Load(), Failed: c.failed.Load(), Aborted: c.aborted.Load()}
}

type counters struct{ ok, refused, failed, aborted atomic.Uint64 }

// count counts a call. Its handler has returned, or panicked.
func (c *counters) count(status int, returned bool) {
	switch {
	case !returned:
		c.aborted.Add(1)
	case status >= http.StatusInternalServerError:
		c.failed.Add(1)
	case status >= http.StatusBadRequest:
		c.refused.Add(1)
	default:
		c.ok.Add(1)
	}
}
