package httpapi

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// NewRouter makes a router whose 404 and 405 are problem documents. It compares paths as they
// were sent: it does not clean, decode or redirect, so the variables of a route are still
// percent-encoded. A nil log is slog.Default.
func NewRouter(log *slog.Logger) *mux.Router {
	router := mux.NewRouter().SkipClean(true).UseEncodedPath()
	router.NotFoundHandler = web.Handle(log, notFound)
	router.MethodNotAllowedHandler = web.Handle(log, func(w http.ResponseWriter, r *http.Request) error {
		allowed := allowedMethods(router, r)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return web.NewProblem(http.StatusMethodNotAllowed, "method-not-allowed", "Method not allowed", "")
	})
	return router
}

func notFound(http.ResponseWriter, *http.Request) error {
	return web.NewProblem(http.StatusNotFound, "not-found", "Not found", "There is nothing at this path.")
}

// allowedMethods lists the methods with which a route matches the request.
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
