//go:build !linux

package client

import (
	"sync"
	"time"
)

var boot struct {
	sync.Mutex
	mono, wall, total time.Duration
}

// elapsed returns the time since an unspecified moment, including the time in which the machine
// was suspended. The monotonic clock may not count that time, and the wall clock may be set. Of
// both, the one that went further since the last call counts, so a lease may end early but not
// late.
func elapsed() time.Duration {
	boot.Lock()
	defer boot.Unlock()
	mono, wall := monotonic(), time.Duration(time.Now().UnixNano()-started.UnixNano())
	boot.total += max(mono-boot.mono, wall-boot.wall)
	boot.mono, boot.wall = mono, wall
	return boot.total
}
