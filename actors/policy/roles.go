package policy

import "iter"

// Roles is a persistent set of roles, by name. A change takes time and memory for what it
// changes, times the logarithm of the number of roles, and does not affect copies made before.
// The zero value is empty. All methods but [Roles.Update] are safe for concurrent use.
type Roles struct{ byName hamt[name, *Role] }

// Get returns the role of that name, or nil.
func (r *Roles) Get(role string) *Role {
	found, _ := r.byName.find(name(role))
	return found
}

// All yields all roles in undefined order.
func (r *Roles) All() iter.Seq[*Role] {
	return func(yield func(*Role) bool) {
		for _, role := range r.byName.all() {
			if !yield(role) {
				return
			}
		}
	}
}

// Update puts the roles, and deletes those that are nil.
func (r *Roles) Update(changed map[string]*Role) {
	own := newToken()
	for n, role := range changed {
		if role != nil {
			r.byName.set(own, name(n), role)
		} else {
			r.byName.delete(own, name(n))
		}
	}
}
