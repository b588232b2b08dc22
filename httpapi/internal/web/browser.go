package web

import (
	"net"
	"net/http"
	"slices"
)

// ForAPI protects an API that no page of another site may use: it answers a cross-site request
// of a browser with 403, as [http.CrossOriginProtection] recognizes it, and marks every answer
// as one that is neither stored nor interpreted.
func ForAPI(next http.Handler) http.Handler {
	sites := http.NewCrossOriginProtection()
	sites.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		WriteProblem(w, r, NewProblem(http.StatusForbidden, "cross-site", "Cross-site request", "The API is not for pages of other sites."))
	}))
	protected := sites.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		protected.ServeHTTP(w, r)
	})
}

// ForHosts answers a request with 421 unless its Host is an IP address, localhost or one of the
// names. It stops a page whose own name was made to resolve to this machine (DNS rebinding).
func ForHosts(names []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if host != "localhost" && net.ParseIP(trimBrackets(host)) == nil && !slices.Contains(names, host) {
			WriteProblem(w, r, NewProblem(http.StatusMisdirectedRequest, "foreign-host", "Foreign host",
				"Use an IP address, localhost or a configured name."))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// trimBrackets returns the address of an IPv6 host without a port.
func trimBrackets(host string) string {
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}
