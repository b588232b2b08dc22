package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// onlyQuery rejects unknown and repeated parameters, and a malformed query. Otherwise a
// misspelled dry-run would apply the update.
func onlyQuery(r *http.Request, known ...string) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return queryProblem("query", "is not of the form name=value&name=value")
	}
next:
	for name, values := range query {
		for _, k := range known {
			if name == k && len(values) == 1 {
				continue next
			}
		}
		return queryProblem(name, "is unknown or repeated")
	}
	return nil
}

// durationOf reads a parameter such as wait=5s.
func durationOf(r *http.Request, name string, otherwise, most time.Duration) (time.Duration, error) {
	query := r.URL.Query()
	if !query.Has(name) {
		return otherwise, nil
	}
	d, err := time.ParseDuration(query.Get(name))
	if err != nil || d < 0 || d > most {
		return 0, queryProblem(name, "is not a duration from 0s to "+most.String()+", such as 5s")
	}
	return d, nil
}

// numberOf reads a parameter such as limit=5.
func numberOf(r *http.Request, name string, otherwise, least, most uint64) (uint64, error) {
	query := r.URL.Query()
	if !query.Has(name) {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(query.Get(name), 10, 64)
	if err != nil || n < least || n > most {
		return 0, queryProblem(name, fmt.Sprintf("is not a number from %d to %d", least, most))
	}
	return n, nil
}

func revisionVar(r *http.Request) (uint64, error) {
	n, err := strconv.ParseUint(mux.Vars(r)["revision"], 10, 64)
	if err != nil {
		return 0, queryProblem("revision", "is not a number")
	}
	return n, nil
}

func queryProblem(name, what string) *client.Problem {
	p := web.NewProblem(http.StatusBadRequest, "malformed-request", "Malformed request", name+" "+what+".")
	p.Members = map[string]any{"errors": []client.Fault{{Field: name, Detail: what}}}
	return p
}

// graceOf reads the parameter grace, nil if it is missing.
func graceOf(r *http.Request) (*time.Duration, error) {
	if !r.URL.Query().Has("grace") {
		return nil, nil
	}
	d, err := durationOf(r, "grace", 0, maxGrace)
	return &d, err
}
