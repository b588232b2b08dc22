package oplogtest

import "time"

// SetPatience bounds the wait for outcomes in tests of logs that never deliver them.
func SetPatience(d time.Duration) (restore func()) {
	before := patience
	patience = d
	return func() { patience = before }
}
