package client

import (
	"time"

	"golang.org/x/sys/unix"
)

// elapsed returns the time since an unspecified moment, including the time in which the machine
// was suspended (CLOCK_BOOTTIME). A lease of a suspended client expires.
func elapsed() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return monotonic()
	}
	return time.Duration(t.Nano())
}
