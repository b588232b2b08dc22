//go:build unix

package race

import "golang.org/x/sys/unix"

// Now reads the host's CLOCK_MONOTONIC, in nanoseconds. Readings of different
// processes on a host are comparable, unlike those of package time.
func Now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic("race: no monotonic clock: " + err.Error()) // every Unix system has one
	}
	return t.Nano()
}
