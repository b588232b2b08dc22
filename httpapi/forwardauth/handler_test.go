package forwardauth_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/forwardauth"
	"github.com/interlock-authz/interlock/httpapi/forwarded"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

// eachFormat runs a test for each format and each version of HTTP.
func eachFormat(t *testing.T, test func(t *testing.T, s *station)) {
	for format := range formats {
		for _, wire := range servertest.Wires {
			t.Run(fmt.Sprintf("%s %s", format, wire), func(t *testing.T) { test(t, newStation(t, format, wire)) })
		}
	}
}

func TestAnswers(t *testing.T) {
	eachFormat(t, func(t *testing.T, s *station) {
		alice, carol := s.Issue("spiffe://interlock.test/alice"), s.Issue("spiffe://interlock.test/carol")
		for _, method := range []string{"GET", "HEAD"} {
			got := s.ask(&alice, method, "/orders/1?x=a%2Fb")
			require.Equal(t, 200, got.StatusCode, got.Text)
			require.Equal(t, []string{"spiffe://interlock.test/alice"}, got.Header[httpapi.PrincipalHeader])
			require.Equal(t, []string{strconv.FormatUint(s.Engine.Revision(), 10)}, got.Header[httpapi.RevisionHeader])
			require.Equal(t, "no-store", got.Header.Get("Cache-Control"))
			require.Empty(t, got.Text)
		}
		s.requireRefused(s.ask(&carol, "GET", "/orders/1"), 403, "denied")
		s.requireRefused(s.ask(&alice, "GET", "/elsewhere"), 403, "no-route")
		s.requireRefused(s.ask(&alice, "DELETE", "/orders/1"), 403, "no-route")
		s.requireRefused(s.ask(&alice, "get", "/orders/1"), 403, "no-route")
		s.requireRefused(s.ask(nil, "GET", "/orders/1"), 401, "no-identity")
	})
}

// TestPathsAreThoseOfTheClient: the rules for paths apply to the original URI.
func TestPathsAreThoseOfTheClient(t *testing.T) {
	eachFormat(t, func(t *testing.T, s *station) {
		alice := s.Issue("spiffe://interlock.test/alice")
		for _, uri := range []string{
			"/orders/a%2Fb", "/orders/a%5Cb", `/orders/a\b`, "/orders/4%32", "/orders/../1", "/orders/a/./b", "/orders/a//b",
			"/orders/a;b", "/orders/%00", "/orders/a{b", "/orders/a#b", "/orders/a%25", "/orders/\xff", "/orders/%zz",
			"orders/1", "http://shop.test/orders/1", "*",
		} {
			s.requireRefused(s.ask(&alice, "GET", uri), 400, "path")
		}
		require.Equal(t, 200, s.ask(&alice, "GET", "/orders/a%20b").StatusCode)
	})
}

// TestOneSourceOfTheOriginalRequest: each header occurs once, and those of other proxies are not read.
func TestOneSourceOfTheOriginalRequest(t *testing.T) {
	eachFormat(t, func(t *testing.T, s *station) {
		alice := s.Issue("spiffe://interlock.test/alice")
		for _, name := range formats[s.format] {
			for _, values := range [][]string{nil, {""}, {"GET", "GET"}, {"/orders/1", "/orders/1"}} {
				r := s.question(&alice, "GET", "shop.test", "/orders/1")
				r.Header[http.CanonicalHeaderKey(name)] = values
				s.requireRefused(s.Send(s.proxy, r), 400, "original-request")
			}
		}
		for other, names := range formats {
			if names == formats[s.format] {
				continue
			}
			r := s.question(&alice, "GET", "shop.test", "/elsewhere")
			for i, value := range []string{"GET", "shop.test", "/orders/1"} {
				r.Header.Set(names[i], value)
			}
			s.requireRefused(s.Send(s.proxy, r), 403, "no-route")
			for _, name := range formats[s.format] {
				r.Header.Del(name)
			}
			s.requireRefused(s.Send(s.proxy, r), 400, "original-request")
			_ = other
		}
	})
}

func TestOnlyProxiesAreBelieved(t *testing.T) {
	eachFormat(t, func(t *testing.T, s *station) {
		alice := s.Issue("spiffe://interlock.test/alice")
		for _, peer := range []*http.Client{s.Client(servertest.HTTP2), s.Client(servertest.HTTP1, alice)} {
			got := s.Send(peer, s.question(&alice, "GET", "shop.test", "/orders/1"))
			s.requireRefused(got, 401, "no-identity")
		}
	})
}

func TestRoutesReadTheOriginalRequest(t *testing.T) {
	eachFormat(t, func(t *testing.T, s *station) {
		alice := s.Issue("spiffe://interlock.test/alice")
		for host, status := range map[string]int{"acme.example": 200, "acme.example:8443": 200, "other.example": 403, "acme.test": 403} {
			require.Equal(t, status, s.Send(s.proxy, s.question(&alice, "POST", host, "/7")).StatusCode, host)
		}
		for amount, status := range map[string]int{"999": 200, "1000": 403, "many": 400, "": 403} {
			r := s.question(&alice, "PUT", "shop.test", "/orders/1")
			if amount != "" {
				r.Header.Set("Order-Amount", amount)
			}
			if s.format == forwarded.Nginx && status == 400 {
				status = 403
			}
			require.Equal(t, status, s.Send(s.proxy, r).StatusCode, amount)
		}
	})
}

func TestRevocations(t *testing.T) {
	eachFormat(t, func(t *testing.T, s *station) {
		alice, bob, again := s.Issue("spiffe://interlock.test/alice"), s.Issue("spiffe://interlock.test/bob"), s.Issue("spiffe://interlock.test/alice")
		require.Equal(t, 200, s.ask(&alice, "GET", "/orders/1").StatusCode)
		require.Equal(t, 200, s.ask(&bob, "GET", "/orders/1").StatusCode)
		s.update(policy.RevokeRole(policy.Grant{Principal: who("bob"), Role: "reader"}))
		s.requireRefused(s.ask(&bob, "GET", "/orders/1"), 403, "denied")
		s.update(s.revocationOf(alice))
		s.requireRefused(s.ask(&alice, "GET", "/orders/1"), 401, "credential-revoked")
		require.Equal(t, 200, s.ask(&again, "GET", "/orders/1").StatusCode)
		s.update(s.revocationOf(s.ingress))
		s.proxy.CloseIdleConnections()
		s.requireRefused(s.ask(&again, "GET", "/orders/1"), 401, "credential-revoked")
	})
}

// TestNothingIsAllowedAfterTheReceipt asks all the time while a role is revoked.
func TestNothingIsAllowedAfterTheReceipt(t *testing.T) {
	s := newStation(t, forwarded.Caddy, servertest.HTTP2)
	bob := s.Issue("spiffe://interlock.test/bob")
	var receipt atomic.Bool
	var asking sync.WaitGroup
	allowed := make(chan struct{}, 4)
	for range 4 {
		asking.Go(func() {
			for first := true; ; {
				after := receipt.Load()
				got, err := s.Try(s.proxy, s.question(&bob, "GET", "shop.test", "/orders/1"))
				switch {
				case err != nil:
					t.Error(err)
					return
				case got.StatusCode == 200 && after:
					t.Error("allowed after the receipt")
					return
				case got.StatusCode == 200 && first:
					first = false
					allowed <- struct{}{}
				case after:
					return
				}
			}
		})
	}
	for range 4 {
		<-allowed
	}
	s.update(policy.RevokeRole(policy.Grant{Principal: who("bob"), Role: "reader"}))
	receipt.Store(true)
	asking.Wait()
}

func TestAClosedEngineDenies(t *testing.T) {
	eachFormat(t, func(t *testing.T, s *station) {
		alice := s.Issue("spiffe://interlock.test/alice")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		require.NoError(t, s.Engine.Close(ctx))
		s.requireRefused(s.ask(&alice, "GET", "/orders/1"), 503, "closed")
	})
}

func TestUse(t *testing.T) {
	s := newStation(t, forwarded.Nginx, servertest.HTTP2)
	alice := s.Issue("spiffe://interlock.test/alice")
	moved := []routes.Route{{Path: "/moved/{id}", Action: "orders:read", Resource: "orders/{id}"}}
	require.NoError(t, s.handler.Use(moved))
	require.Equal(t, 200, s.ask(&alice, "GET", "/moved/1").StatusCode)
	s.requireRefused(s.ask(&alice, "GET", "/orders/1"), 403, "no-route")
	for want, faulty := range map[string]routes.Route{
		`route 1 (orders): invalid: path`:        {Path: "orders", Action: "orders:read", Resource: "orders"},
		`no variable "id"`:                       {Path: "/orders", Action: "orders:read", Resource: "orders/{id}"},
		`rule for "" on "orders"`:                {Path: "/orders", Resource: "orders"},
		`property "a": invalid: it needs either`: {Path: "/orders", Action: "orders:read", Resource: "orders", Properties: map[string]routes.Source{"a": {}}},
		`unbalanced braces`:                      {Path: "/{id", Action: "orders:read", Resource: "orders"},
	} {
		err := s.handler.Use([]routes.Route{faulty})
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, policy.ErrInvalid)
		_, err = forwardauth.New(forwardauth.Options{Engine: s.Engine, Format: forwarded.Nginx, Routes: []routes.Route{faulty}})
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, 200, s.ask(&alice, "GET", "/moved/1").StatusCode, "the routes stay")
	_, err := forwardauth.New(forwardauth.Options{Engine: s.Engine, Format: forwarded.Envoy})
	require.ErrorIs(t, err, policy.ErrInvalid)
}
