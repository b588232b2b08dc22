package actors

import "math"

// PassivateAll closes every idle mailbox, whenever it was last used.
func PassivateAll(e *Engine) { e.passivate(math.MaxInt64) }
