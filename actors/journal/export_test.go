package journal

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// On returns the options with files of the test's own, and small buffers.
func (o Options) On(files vfs.FS) Options {
	o.files, o.lean = files, true
	return o
}

// At returns the options with a clock of the test's own.
func (o Options) At(clock func() time.Time) Options {
	o.clock = clock
	return o
}

// Repeats returns the options with other limits of idempotency keys, in all and of each author.
func (o Options) Repeats(all, each int) Options {
	o.repeats = repeatLimits{all, each}
	return o
}
