package bench

import "github.com/interlock-authz/interlock/actors"

// admitting is interlock, with operations under a lease.
type admitting struct{ *executing }

func startAdmit(w *world) strategy { return admitting{newExecuting(w)} }

func (a admitting) use(req *actors.Request, operation actors.Func) bool {
	lease, err := a.Admit(background, *req)
	if err != nil {
		mustDecide(err)
		return false
	}
	defer lease.Release()
	_ = operation(lease.Context()) // an operation that is canceled says so
	return true
}
