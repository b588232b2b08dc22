package web

import (
	"net/http"
	"net/url"
)

// CheckSpelling rejects a path that net/url would spell differently if the request was sent on,
// such as one with a brace. The error is a problem of status 400.
func CheckSpelling(u *url.URL) error {
	if u.RawPath == "" || u.RawPath == u.EscapedPath() {
		return nil
	}
	return NewProblem(http.StatusBadRequest, "path", "Path not canonical",
		"The path holds a character that has to be percent-encoded. The server does not encode it.")
}
