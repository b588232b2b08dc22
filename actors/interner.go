package actors

import (
	"runtime"
	"sync"
	"weak"

	"github.com/interlock-authz/interlock/actors/policy"
)

// interner lets principals that hold the same share one compiled form. It keeps no form
// alive that nobody holds.
type interner struct {
	forms sync.Map // internKey → weak.Pointer[policy.Effective]
}

// internKey names a form: which roles within which limits, under the inheritance of one
// set of roles.
type internKey struct {
	held  string
	roles uint64
}

func (in *interner) effective(t *policy.Table, held policy.Held) *policy.Effective {
	key := internKey{held: held.Key, roles: t.RolesRevision()}
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
