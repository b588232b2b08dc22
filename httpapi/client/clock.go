package client

import "time"

// started is when the process started.
var started = time.Now()

// monotonic returns the time since the start, without the time in which the machine was suspended.
func monotonic() time.Duration { return time.Since(started) }
