//go:build !unix

package race

import "time"

var start = time.Now()

// Now reads a monotonic clock of this process, in nanoseconds. On this system readings do
// not compare across processes: a target's stamps are refused.
func Now() int64 { return int64(time.Since(start)) }
