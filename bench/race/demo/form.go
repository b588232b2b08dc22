package demo

import (
	"fmt"
	"net/http"
)

// Form is one way to guard the same API.
type Form byte

// The forms.
const (
	Lookup  Form = 'a' // identity and permission looked up, then acted on
	RWMutex Form = 'b' // the same, behind a store that a sync.RWMutex guards
	Cache   Form = 'c' // decisions kept for a second
	Guarded Form = 'd' // interlock's Guard
)

// Forms returns all forms in their order.
func Forms() []Form { return []Form{Lookup, RWMutex, Cache, Guarded} }

// ParseForm reads the letter of a form.
func ParseForm(text string) (Form, error) {
	for _, f := range Forms() {
		if text == string(f) {
			return f, nil
		}
	}
	return 0, fmt.Errorf("there is no form %q: the forms are a, b, c and d", text)
}

// Vulnerable reports whether the form lets check and use be torn apart.
func (f Form) Vulnerable() bool { return f != Guarded }

// String says what the form does.
func (f Form) String() string {
	return string(f) + " " + map[Form]string{
		Lookup:  "looked up, then acted on",
		RWMutex: "read from a store behind an RWMutex",
		Cache:   "decision cached for 1 s",
		Guarded: "interlock's Guard",
	}[f]
}

// permissions is how a form keeps and checks the caller's permission.
type permissions interface {
	// set gives or takes the permission; what follows its return is held against it.
	set(allowed bool) error
	// protect lets a request reach next if it is allowed.
	protect(next http.HandlerFunc) http.Handler
	close() error
}

func (f Form) permissions() (permissions, error) {
	switch f {
	case Lookup:
		return newLookup(), nil
	case RWMutex:
		return newStore(), nil
	case Cache:
		return newCache(), nil
	}
	return newGuarded()
}

// behind lets a request reach next if a check says so, which is over by then: that is what
// is wrong with the vulnerable forms.
func behind(check func(*http.Request) bool, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !check(r) {
			http.Error(w, "not allowed", http.StatusForbidden)
			return
		}
		next(w, r)
	})
}
