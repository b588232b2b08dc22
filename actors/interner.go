package actors

import (
	"runtime"
	"sync"
	"weak"

	"github.com/interlock-authz/interlock/actors/policy"
)

// interner shares one compiled form among principals that hold the same roles. It does not
// keep unused forms in memory.
type interner struct {
	forms sync.Map // internKey → weak.Pointer[policy.Effective]
}

// internKey identifies a form: the roles and their limits, and the shape of the table.
type internKey struct {
	held  string
	shape uint64
}

func (in *interner) effective(t *policy.Table, held policy.Held) *policy.Effective {
	key := internKey{held: held.Key, shape: t.Shape()}
	if v, ok := in.forms.Load(key); ok {
		if e := v.(weak.Pointer[policy.Effective]).Value(); e != nil {
			return e
		}
	}
	e := t.Compile(held)
	w := weak.Make(e)
	in.forms.Store(key, w)
	runtime.AddCleanup(e, func(key internKey) { in.forms.CompareAndDelete(key, w) }, key)
	return e
}
