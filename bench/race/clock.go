//go:build unix

package race

import "golang.org/x/sys/unix"

// Now reads the host's CLOCK_MONOTONIC, in nanoseconds. Readings compare across the
// processes of a host, which those of package time do not.
func Now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic("race: no monotonic clock: " + err.Error()) // every unix has one
	}
	return t.Nano()
}
