package routes

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
)

// Route says which requests it matches and what they need. The tags are the keys of a route in the
// configuration of interlock serve.
type Route struct {
	// Host is a name or a template such as {tenant}.example.org. Empty is every host.
	Host string `yaml:"host"`
	// Methods are the methods. None is all methods.
	Methods []string `yaml:"methods"`
	// Path is a template of gorilla/mux: /orders/{id}, or /files/{name:.*} for several segments.
	Path string `yaml:"path"`
	// Action and Resource are those of [httpapi.Rule].
	Action   string `yaml:"action"`
	Resource string `yaml:"resource"`
	// Properties are the resource's properties for conditions, by name.
	Properties map[string]Source `yaml:"properties"`
}

// Check returns an error that wraps [policy.ErrInvalid] for a fault that needs no router to find.
func (r *Route) Check() error {
	if !strings.HasPrefix(r.Path, "/") {
		return fmt.Errorf("%w: path %q does not begin with a slash", policy.ErrInvalid, r.Path)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Properties)) {
		if err := r.Properties[name].check(); err != nil {
			return fmt.Errorf("property %q: %w", name, err)
		}
	}
	return nil
}

// Add adds the route to a router of [httpapi.NewRouter]. protect makes its handler of the rule, by a
// guard. The error wraps [policy.ErrInvalid], also if protect panics. After all routes are added,
// [httpapi.CheckRoutes] finds the resources that do not fit their routes.
func (r *Route) Add(router *mux.Router, protect func(httpapi.Rule) http.Handler) error {
	handler, err := guarded(protect, httpapi.Rule{Action: r.Action, Resource: r.Resource, Properties: r.properties()})
	if err != nil {
		return err
	}
	route := router.NewRoute().Path(r.Path)
	if r.Host != "" {
		route.Host(r.Host)
	}
	if len(r.Methods) > 0 {
		route.Methods(slices.Clone(r.Methods)...) // mux changes what it is given
	}
	if err := route.GetError(); err != nil {
		return fmt.Errorf("%w: %w", policy.ErrInvalid, err)
	}
	route.Handler(handler)
	names, err := route.GetVarNames()
	if err != nil {
		return fmt.Errorf("%w: %w", policy.ErrInvalid, err)
	}
	for _, property := range slices.Sorted(maps.Keys(r.Properties)) {
		if name := r.Properties[property].Path; name != "" && !slices.Contains(names, name) {
			return fmt.Errorf("property %q: %w: the path has no variable %q", property, policy.ErrInvalid, name)
		}
	}
	return nil
}

// guarded calls protect. It returns an error for a malformed rule.
func guarded(protect func(httpapi.Rule) http.Handler, rule httpapi.Rule) (h http.Handler, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v", policy.ErrInvalid, v)
		}
	}()
	return protect(rule), nil
}
