package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/actors/policy"
)

// protected is the handler that [Guard.Protect] returns.
type protected struct {
	http.Handler
	rule     Rule
	template template
}

// CheckRoutes checks the rules of the router's guarded handlers: a route must have each variable
// that the resource of its rule has. The error names every rule and route that do not fit, and
// wraps [policy.ErrInvalid]. CheckRoutes visits subrouters. It skips a guarded handler inside
// another handler, and reports a variable that only a BuildVarsFunc adds. It must not run
// concurrently with changes of the router.
//
// [NewServer] calls it for a handler that is a router.
func CheckRoutes(router *mux.Router) error {
	var faults []error
	err := router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		guarded, ok := route.GetHandler().(*protected)
		if !ok {
			return nil
		}
		names, err := route.GetVarNames()
		if err != nil {
			return err
		}
		path, err := route.GetPathTemplate()
		if err != nil {
			path = "without a path"
		}
		for _, part := range guarded.template {
			if part.variable && !slices.Contains(names, part.text) {
				faults = append(faults, missingVariable(&guarded.rule, path, part.text))
			}
		}
		return nil
	})
	return errors.Join(append(faults, err)...)
}

func missingVariable(rule *Rule, route, name string) error {
	return fmt.Errorf("rule for %q on %q: %w: the route %s has no variable %q", rule.Action, rule.Resource, policy.ErrInvalid, route, name)
}

// variable returns the value of a variable of the request's route, and whether the route has
// it. vars are the variables of mux; all others are those of net/http.
func variable(r *http.Request, vars map[string]string, name string) (value string, ok bool) {
	if value, ok = vars[name]; ok {
		return value, true
	}
	if value = r.PathValue(name); value != "" {
		return value, true
	}
	return "", strings.Contains(r.Pattern, "/{"+name+"}") || strings.Contains(r.Pattern, "/{"+name+"...}")
}

// routeOf returns the path template or the pattern of the request's route.
func routeOf(r *http.Request) string {
	if route := mux.CurrentRoute(r); route != nil {
		if path, err := route.GetPathTemplate(); err == nil {
			return path
		}
	}
	return r.Pattern
}
