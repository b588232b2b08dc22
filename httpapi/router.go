package httpapi

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"
)

// NewRouter makes a router whose own refusals, 404 and 405, are problem documents. It
// compares paths as they were sent: it cleans, decodes and redirects nothing, so that a
// path that is spelled in another way is not found, and variables of a route are still
// percent-encoded. A nil log is slog.Default.
func NewRouter(log *slog.Logger) *mux.Router {
	router := mux.NewRouter().SkipClean(true).UseEncodedPath()
	router.NotFoundHandler = handle(log, notFound)
	router.MethodNotAllowedHandler = handle(log, func(w http.ResponseWriter, r *http.Request) error {
		allowed := allowedMethods(router, r)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return problem(http.StatusMethodNotAllowed, "method-not-allowed", "Method not allowed", "")
	})
	return router
}

func notFound(http.ResponseWriter, *http.Request) error {
	return problem(http.StatusNotFound, "not-found", "Not found", "There is nothing at this path.")
}

// allowedMethods lists the methods with which some route would take the request.
func allowedMethods(router *mux.Router, r *http.Request) []string {
	var allowed []string
	_ = router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		methods, err := route.GetMethods()
		if err != nil {
			return nil // a route for every method would have matched
		}
		for _, method := range methods {
			as := *r
			as.Method = method
			if !slices.Contains(allowed, method) && route.Match(&as, &mux.RouteMatch{}) {
				allowed = append(allowed, method)
			}
		}
		return nil
	})
	slices.Sort(allowed)
	return allowed
}
