package wire

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// schedulerClock asks, in the number of a process's clock, for what the scheduler counts:
// the time of all its threads, including ended ones, in user mode and in the kernel.
const schedulerClock = 2

// processTime is the processor time that a process has taken since it began. It is read
// from the process's own clock, to the nanosecond: the counters of /proc go by ticks of ten
// milliseconds.
func processTime(pid int) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedulerClock), &t); err != nil {
		return 0, fmt.Errorf("reading the processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
