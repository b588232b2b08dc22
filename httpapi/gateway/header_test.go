package gateway_test

import (
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/forwarded"
	"github.com/interlock-authz/interlock/httpapi/gateway"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

// seen sends the headers that arrive at the upstream to the channel.
func seen(to chan<- *http.Request) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		to <- r
	}
}

func TestTheUpstreamLearnsWhoCalls(t *testing.T) {
	for _, identity := range []gateway.Identity{"", gateway.ClientCert, gateway.XFCC, gateway.NoCert} {
		eachKind(t, func(t *testing.T, k kind, wire servertest.Wire) {
			arrived := make(chan *http.Request, 1)
			s := newStation(t, k, seen(arrived), func(c *gateway.Config) {
				u := c.Upstreams["files"]
				u.Identity = identity
				c.Upstreams["files"] = u
			})
			pair := s.Issue("spiffe://interlock.test/alice")
			cert := certificateOf(t, pair)
			forged := s.Request(http.MethodGet, "/files/1", "")
			for _, name := range []string{
				"Client-Cert", "Client-Cert-Chain", "X-Forwarded-Client-Cert", "X-SSL-Client-S-DN", httpapi.PrincipalHeader, httpapi.RevisionHeader,
				"Interlock-Other", "interlock_principal", "Client_Cert", "X-Forwarded-For", "X-Forwarded-Host", "Forwarded",
			} {
				forged.Header[name] = []string{"forged"}
			}
			if wire == servertest.HTTP1 {
				forged.Header["Connection"], forged.Header["X-Private"] = []string{"x-private"}, []string{"forged"}
			}
			forged.Header.Set("Authorization", "Bearer kept")
			forged.Host = "files.example"
			require.Equal(t, 200, s.Send(s.Client(wire, pair), forged).StatusCode)
			got := await(t, arrived)
			require.Equal(t, "spiffe://interlock.test/alice", got.Header.Get(httpapi.PrincipalHeader))
			require.Equal(t, strconv.FormatUint(s.Engine.Revision(), 10), got.Header.Get(httpapi.RevisionHeader))
			require.Equal(t, "Bearer kept", got.Header.Get("Authorization"))
			require.Equal(t, "files.example", got.Host)
			require.Equal(t, []string{"127.0.0.1"}, got.Header["X-Forwarded-For"])
			for name, values := range got.Header {
				require.NotContains(t, strings.Join(values, ","), "forged", name)
			}
			sent := map[forwarded.Format]bool{}
			for format, header := range map[forwarded.Format]string{forwarded.RFC9440: "Client-Cert", forwarded.Envoy: "X-Forwarded-Client-Cert"} {
				if got.Header.Get(header) == "" {
					continue
				}
				sent[format] = true
				reader, err := forwarded.NewReader(format, "")
				require.NoError(t, err)
				chain, err := reader.Chain(got.Header)
				require.NoError(t, err)
				require.Len(t, chain, 1)
				require.True(t, cert.Equal(chain[0]))
			}
			require.Equal(t, map[gateway.Identity]map[forwarded.Format]bool{
				"": {forwarded.RFC9440: true}, gateway.ClientCert: {forwarded.RFC9440: true}, gateway.XFCC: {forwarded.Envoy: true}, gateway.NoCert: {},
			}[identity], sent)
		})
	}
}

// TestTrailers sends identity headers as trailers, which some servers join with the headers.
func TestTrailers(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind, wire servertest.Wire) {
		arrived := make(chan *http.Request, 1)
		s := newStation(t, k, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, "body")
			w.Header().Set("X-Sum", "4")
			arrived <- r
		})
		r := s.Request(http.MethodPut, "/files/1", "")
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), -1
		r.Trailer = http.Header{"X-Own": {"kept"}, "Client-Cert": {"forged"}, "Interlock-Principal": {"forged"}}
		got := s.Send(s.Client(wire, s.Issue("spiffe://interlock.test/alice")), r)
		require.Equal(t, "4", got.Trailer.Get("X-Sum"))
		require.Equal(t, http.Header{"X-Own": {"kept"}}, await(t, arrived).Trailer)
	})
}

func TestPropertiesOfARequest(t *testing.T) {
	s := newStation(t, kinds["http1"], func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "written") }, func(c *gateway.Config) {
		c.Routes = append(c.Routes, gateway.Route{Upstream: "files", Route: routes.Route{
			Path: "/{tenant}/orders/{id}", Action: "orders:write", Resource: "orders/{id}",
			Properties: map[string]gateway.Source{"tenant": {Path: "tenant"}, "amount": {Header: "Amount", Type: "number"}},
		}})
	})
	c := s.As("alice")
	for _, test := range []struct {
		path   string
		amount []string
		status int
	}{
		{"/acme/orders/1", []string{"999.5"}, 200},
		{"/acme/orders/1", []string{"1000"}, 403},
		{"/other/orders/1", []string{"1"}, 403},
		{"/acme/orders/1", nil, 403},
		{"/acme/orders/1", []string{"1", "1000"}, 400},
		{"/acme/orders/1", []string{"-Inf"}, 400},
		{"/acme/orders/1", []string{"0x1p-2"}, 400},
		{"/acme/orders/1", []string{""}, 400},
		{"/acme/orders/1", []string{"1, 2"}, 400},
		{"/ac%6de/orders/1", []string{"1"}, 400},
	} {
		r := s.Request(http.MethodPut, test.path, "")
		if test.amount != nil {
			r.Header["Amount"] = test.amount
		}
		got := s.Send(c, r)
		require.Equal(t, test.status, got.StatusCode, "%+v: %s", test, got.Text)
	}
}

func TestFaultsOfAConfiguration(t *testing.T) {
	s := newStation(t, kinds["http1"], http.NotFound)
	up, route := s.config.Upstreams["files"], s.config.Routes[0]
	for want, alter := range map[string]func(*gateway.Config, *gateway.Upstream, *gateway.Route){
		`upstream "files": invalid: no addresses`:             func(_ *gateway.Config, u *gateway.Upstream, _ *gateway.Route) { u.Addresses = nil },
		`address "localhost" is not host:port`:                func(_ *gateway.Config, u *gateway.Upstream, _ *gateway.Route) { u.Addresses = []string{"localhost"} },
		`protocol "h3"; it must be http1 or http2`:            func(_ *gateway.Config, u *gateway.Upstream, _ *gateway.Route) { u.Protocol = "h3" },
		`identity "dn"; it must be client-cert, xfcc or none`: func(_ *gateway.Config, u *gateway.Upstream, _ *gateway.Route) { u.Identity = "dn" },
		`is negative`: func(_ *gateway.Config, u *gateway.Upstream, _ *gateway.Route) { u.IdleTimeout = -1 },
		`a duration of health`: func(_ *gateway.Config, u *gateway.Upstream, _ *gateway.Route) {
			u.Health = &gateway.Health{Interval: -1}
		},
		`health path "x"`:                func(_ *gateway.Config, u *gateway.Upstream, _ *gateway.Route) { u.Health = &gateway.Health{Path: "x"} },
		`route 1 (files): invalid: path`: func(_ *gateway.Config, _ *gateway.Upstream, r *gateway.Route) { r.Path = "files" },
		`there is no upstream "other"`:   func(_ *gateway.Config, _ *gateway.Upstream, r *gateway.Route) { r.Upstream = "other" },
		`no variable "name"`:             func(_ *gateway.Config, _ *gateway.Upstream, r *gateway.Route) { r.Resource = "files/{name}" },
		`rule for "" on "files/{id}"`:    func(_ *gateway.Config, _ *gateway.Upstream, r *gateway.Route) { r.Action = "" },
		`grace 2h0m0s; it must be from`:  func(_ *gateway.Config, _ *gateway.Upstream, r *gateway.Route) { r.Grace = new(2 * time.Hour) },
		`unbalanced braces`:              func(_ *gateway.Config, _ *gateway.Upstream, r *gateway.Route) { r.Path = "/files/{id" },
		`property "a": invalid: the path has no variable "b"`: func(_ *gateway.Config, _ *gateway.Upstream, r *gateway.Route) {
			r.Properties = map[string]gateway.Source{"a": {Path: "b"}}
		},
		`property "a": invalid: it needs either path or header`: func(_ *gateway.Config, _ *gateway.Upstream, r *gateway.Route) {
			r.Properties = map[string]gateway.Source{"a": {Path: "id", Header: "b"}}
		},
		`type "int"; it must be string, number or bool`: func(_ *gateway.Config, _ *gateway.Upstream, r *gateway.Route) {
			r.Properties = map[string]gateway.Source{"a": {Path: "id", Type: "int"}}
		},
	} {
		u, r := up, route
		c := gateway.Config{}
		alter(&c, &u, &r)
		c.Upstreams, c.Routes = map[string]gateway.Upstream{"files": u}, []gateway.Route{r}
		require.ErrorContains(t, s.gateway.Use(c), want)
	}
	both := gateway.Config{Upstreams: maps.Clone(s.config.Upstreams), Routes: []gateway.Route{{Route: routes.Route{Path: "/a"}, Upstream: "b"}, {Route: routes.Route{Path: "/c"}, Upstream: "d"}}}
	err := s.gateway.Use(both)
	require.ErrorContains(t, err, "route 1 (/a)")
	require.ErrorContains(t, err, "route 2 (/c)")
	require.Equal(t, 404, s.Send(s.As("alice"), s.Request(http.MethodGet, "/files/1", "")).StatusCode, "the upstream's own: the routes stay")
	s.gateway.Close()
	require.ErrorIs(t, s.gateway.Use(s.config), gateway.ErrClosed)
}

// TestOnlyWebSocketsAreUpgraded asks for an upgrade after which the connection would carry requests
// that nothing authorizes.
func TestOnlyWebSocketsAreUpgraded(t *testing.T) {
	arrived := make(chan *http.Request, 1)
	s := newStation(t, kinds["http1"], func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
			w.WriteHeader(http.StatusSwitchingProtocols)
		}
		arrived <- r
	})
	for _, protocol := range []string{"h2c", "websocket2", "h2c, websocket", "WebSocket"} {
		r := s.Request(http.MethodGet, "/files/1", "")
		r.Header.Set("Connection", "Upgrade, HTTP2-Settings")
		r.Header.Set("Upgrade", protocol)
		r.Header.Set("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA")
		response, err := s.Client(servertest.HTTP1, s.Issue("spiffe://interlock.test/alice")).Do(r)
		require.NoError(t, err)
		_ = response.Body.Close()
		got := await(t, arrived)
		require.Empty(t, got.Header.Get("HTTP2-Settings"))
		if protocol == "WebSocket" {
			require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
			continue
		}
		require.Equal(t, http.StatusOK, response.StatusCode, protocol)
		require.Empty(t, got.Header.Get("Upgrade"), protocol)
	}
}
