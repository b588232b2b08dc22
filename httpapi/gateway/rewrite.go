package gateway

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"os"
	"strconv"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/forwarded"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// rewrite makes the request to an upstream. The path stays as it came. ReverseProxy has removed the
// hop-by-hop headers.
func rewrite(r *httputil.ProxyRequest, u *upstream) {
	r.Out.URL.Scheme, r.Out.URL.Host = u.addresses[0].scheme, u.name
	r.Out.Host = r.In.Host
	forwarded.Remove(r.Out.Header)
	r.SetXForwarded()
	ctx := r.In.Context()
	if body := callOf(ctx).body; body != nil {
		forwarded.Remove(r.Out.Trailer)
		body.forwarded = r.Out.Trailer
	}
	if caller, ok := httpapi.CallerOf(ctx); ok {
		r.Out.Header.Set(httpapi.PrincipalHeader, caller.Principal.String())
		identify(r.Out.Header, u.options.Identity, caller)
	}
	if revision, ok := actors.RevisionOf(ctx); ok {
		r.Out.Header.Set(httpapi.RevisionHeader, strconv.FormatUint(revision, 10))
	}
}

// identify adds the caller's certificate.
func identify(h http.Header, by Identity, caller *httpapi.Caller) {
	cert := caller.Certificate
	if cert == nil {
		return
	}
	switch by {
	case ClientCert:
		h.Set("Client-Cert", ":"+base64.StdEncoding.EncodeToString(cert.Raw)+":")
	case XFCC:
		h.Set("X-Forwarded-Client-Cert", forwarded.XFCC(cert))
	}
}

// modifyResponse removes a header that only the gateway may set, and a length that would leave no
// room for trailers: HTTP/2 can have both, and HTTP/1.1 cannot.
func modifyResponse(r *http.Response) error {
	r.Header.Del(web.RequestIDHeader)
	if len(r.Trailer) > 0 {
		r.Header.Del("Content-Length")
	}
	return nil
}

// answerError answers a call without a response of the upstream. It does not answer one that was
// canceled: Guard aborts it if it was revoked, and a client that is gone reads nothing.
func answerError(w http.ResponseWriter, r *http.Request, u *upstream, err error) {
	ctx := r.Context()
	failed := callOf(ctx).body.error()
	p := failed
	switch {
	case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		panic(http.ErrAbortHandler)
	case failed != nil && isOver(ctx):
		panic(http.ErrAbortHandler)
	case errors.Is(failed, os.ErrDeadlineExceeded):
		// a 408
	case failed != nil: // the client broke off
		panic(http.ErrAbortHandler)
	case errors.Is(err, errBusy):
		p = because(err, http.StatusServiceUnavailable, "upstream-busy", "Upstream busy", "All connections to the service are in use. Try again.")
	case isTimeout(err):
		p = because(err, http.StatusGatewayTimeout, "upstream-timeout", "Upstream timeout", "The service did not answer in time.")
	default:
		p = because(err, http.StatusBadGateway, "upstream-failed", "Upstream failed", "The service cannot be reached, or it broke off.")
	}
	web.LoggerOf(ctx).Warn("a proxied call failed", slog.String("upstream", u.name), slog.Any("cause", err))
	httpapi.WriteProblem(w, r, p)
}

// because makes a problem with a cause for the log.
func because(cause error, status int, name, title, detail string) error {
	p := web.NewProblem(status, name, title, detail)
	p.Cause = cause
	return p
}
