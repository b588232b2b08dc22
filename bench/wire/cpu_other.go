//go:build !linux

package wire

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// processTime is the processor time that a process has taken since it began.
func processTime(int) (time.Duration, error) {
	return 0, fmt.Errorf("the processor time of another process cannot be read on %s; measure on Linux: %w",
		runtime.GOOS, errors.ErrUnsupported)
}
