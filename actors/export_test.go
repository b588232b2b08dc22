package actors

import (
	"math"
	"os"
)

// Soak selects the long forms of tests.
func Soak() bool { return os.Getenv("INTERLOCK_SOAK") == "1" }

// PassivateAll closes every idle mailbox, whenever it was last used.
func PassivateAll(e *Engine) { e.passivate(math.MaxInt64) }
