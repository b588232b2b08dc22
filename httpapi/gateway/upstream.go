package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors"
)

// upstream is a group of addresses in use. It is the transport of the routes that name it.
type upstream struct {
	name       string
	options    Upstream // with its defaults
	configured Upstream
	addresses  []*address
	turn       atomic.Uint32
	stop       context.CancelFunc
	running    sync.WaitGroup // the goroutines that check and close
}

// newUpstream starts the health checks of an upstream.
func newUpstream(name string, configured Upstream, log *slog.Logger) *upstream {
	u := &upstream{name: name, options: configured.withDefaults(), configured: configured}
	transport := newTransport(&u.options)
	for _, target := range u.options.Addresses {
		u.addresses = append(u.addresses, newAddress(target, &u.options, transport))
	}
	ctx, stop := context.WithCancel(context.Background())
	u.stop = stop
	for _, a := range u.addresses {
		u.running.Go(func() { a.closeIdleRegularly(ctx) })
		if u.options.Health != nil {
			u.running.Go(func() { a.check(ctx, name, log) })
		}
	}
	return u
}

// is reports whether the upstream was made of an equal configuration, with the same address in TLS.
func (u *upstream) is(configured Upstream) bool {
	was := u.configured
	same := was.TLS == configured.TLS
	was.TLS, configured.TLS = nil, nil
	return same && reflect.DeepEqual(was, configured)
}

// close ends the health checks, and closes the connections when their calls have ended.
func (u *upstream) close() {
	u.stop()
	u.running.Wait()
	for _, a := range u.addresses {
		a.close()
	}
}

// closeIdleRegularly closes connections after their idle timeout, until ctx is done.
func (a *address) closeIdleRegularly(ctx context.Context) {
	ticker := time.NewTicker(max(a.options.IdleTimeout/2, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			a.closeIdle(now)
		}
	}
}

// next returns the address for a request: the healthy ones in turn, and all in turn if none is
// healthy. It does not return one of the tried ones unless all were tried.
func (u *upstream) next(tried []*address) *address {
	n, now := len(u.addresses), time.Now()
	first := int(u.turn.Add(1)-1) % n
	var fallback *address
	for i := range n {
		a := u.addresses[(first+i)%n]
		if slices.Contains(tried, a) {
			continue
		}
		if a.usable(now) {
			return a
		}
		if fallback == nil {
			fallback = a
		}
	}
	if fallback == nil {
		fallback = u.addresses[first]
	}
	return fallback
}

// attempts is how often a request is sent at most.
const attempts = 2

// RoundTrip implements [http.RoundTripper]. It tries another address if it cannot connect. It sends
// a request again only if that is safe: the request is idempotent and has no body, there was no
// response, and the call has its authority.
func (u *upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	var tried []*address
	for sent := 0; ; {
		a := u.next(tried)
		c, reused, err := a.take(r.Context(), sent > 0)
		if err == nil {
			sent++
			var response *http.Response
			if response, err = a.send(c, r); err == nil {
				return response, nil
			}
			if sent == attempts || !canRepeat(r) || isTimeout(err) || !actors.HasAuthority(r.Context()) {
				return nil, err
			}
			if reused { // the same address may be fine
				continue
			}
		}
		tried = append(tried, a)
		if len(tried) == len(u.addresses) || errors.Is(err, errBusy) || r.Context().Err() != nil || !actors.HasAuthority(r.Context()) {
			closeBody(r.Body)
			return nil, err
		}
	}
}

func closeBody(body io.Closer) {
	if body != nil {
		_ = body.Close() // was not read
	}
}

// canRepeat reports whether a request may be sent twice.
func canRepeat(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return r.Body == nil && r.Header.Get("Upgrade") == ""
	}
	return false
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// send sends a request on a connection. When the call of the request has ended, so has its part of
// the connection: see the argument in the package documentation.
func (a *address) send(c *connection, r *http.Request) (*http.Response, error) {
	e := &exchange{address: a, connection: c, http2: a.options.Protocol == HTTP2}
	ctx := r.Context()
	if e.http2 {
		detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
		stop := context.AfterFunc(ctx, cancel)
		defer stop()
		e.cancel = cancel
		r = r.WithContext(detached)
	} else {
		e.call = &ctx
		c.socket.call.Store(e.call)
		copied := *r
		r = &copied
	}
	call := callOf(ctx)
	if r.Body != nil {
		r.Body = call.take(e, r.Body)
	}
	response, err := c.client.RoundTrip(r)
	if err != nil {
		e.fail()
		return nil, err
	}
	if response.StatusCode == http.StatusSwitchingProtocols {
		call.upgraded = c.socket
		return response, nil
	}
	response.Body = &responseBody{ReadCloser: response.Body, exchange: e, flush: call.flush, left: response.ContentLength}
	if e.http2 {
		e.stop = context.AfterFunc(ctx, func() { _ = response.Body.Close() })
	}
	return response, nil
}
