package httpapi

import (
	"net/http"

	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// WriteProblem answers with the problem that err is (a *client.Problem) or becomes, and writes
// its cause to the request's log: so an error is answered or returned, never both. The public
// part never reveals whether a resource exists or why a policy denies. An unknown error becomes a
// 500 without a detail.
//
// A 401 closes the connection (GOAWAY with HTTP/2), because a connection keeps its client
// certificate, or the lack of one. The connection of a proxy stays open: it has other clients.
func WriteProblem(w http.ResponseWriter, r *http.Request, err error) { web.WriteProblem(w, r, err) }
