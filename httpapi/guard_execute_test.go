package httpapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

func echo(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }

// readAmount reads the amount from the body.
func readAmount(r *http.Request) (map[string]any, error) {
	var properties map[string]any
	return properties, json.NewDecoder(r.Body).Decode(&properties)
}

func TestExecuteBoundsTheBody(t *testing.T) {
	s := newGuardStation(t)
	var reached atomic.Int32
	s.protect("execute", httpapi.Rule{Action: "orders:read", Mode: httpapi.Execute, BodyLimit: 10}, func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		echo(w, r)
	})
	for _, speaks := range servertest.Wires {
		c := s.Client(speaks, s.Issue("spiffe://interlock.test/alice"))
		for _, announced := range []bool{true, false} {
			send := func(body string) servertest.Reply {
				r := s.Request(http.MethodPut, "/execute/1", body)
				if !announced {
					r.ContentLength = -1
				}
				return s.Send(c, r)
			}
			require.Equal(t, "0123456789", send("0123456789").Text)
			require.EqualValues(t, 1, reached.Swap(0))
			got := send("0123456789+")
			require.Equal(t, 413, got.StatusCode)
			require.Equal(t, "urn:interlock:problem:body-too-large", got.Problem(t)["type"])
			require.Zero(t, reached.Load())
		}
	}
}

func TestExecuteBoundsTheResponse(t *testing.T) {
	s := newGuardStation(t)
	var failed atomic.Bool
	s.protect("execute", httpapi.Rule{Action: "orders:read", Mode: httpapi.Execute, ResponseLimit: 64}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Half", "sent")
		w.WriteHeader(http.StatusCreated)
		_, err := w.Write(bytes.Repeat([]byte("x"), 40))
		if r.Method == http.MethodPut {
			_, err = w.Write(bytes.Repeat([]byte("y"), 40))
			_, _ = w.Write([]byte("z"))
		}
		failed.Store(err != nil)
	})
	for _, speaks := range servertest.Wires {
		c := s.Client(speaks, s.Issue("spiffe://interlock.test/alice"))
		got := s.Send(c, s.Request(http.MethodGet, "/execute/1", ""))
		require.Equal(t, 201, got.StatusCode)
		require.Equal(t, strings.Repeat("x", 40), got.Text)
		require.Equal(t, "sent", got.Header.Get("X-Half"))
		require.NotEmpty(t, got.Header.Get("X-Request-ID"), "what middleware set stays")
		require.False(t, failed.Load())
		got = s.Send(c, s.Request(http.MethodPut, "/execute/1", ""))
		require.Equal(t, 500, got.StatusCode)
		require.Equal(t, "urn:interlock:problem:internal", got.Problem(t)["type"])
		require.NotContains(t, got.Text, "xx")
		require.Empty(t, got.Header.Get("X-Half"))
		require.True(t, failed.Load())
	}
}

func TestExecuteShowsTheBodyTwice(t *testing.T) {
	s := newGuardStation(t)
	s.protect("execute", httpapi.Rule{Action: "orders:write", Mode: httpapi.Execute, Properties: readAmount}, echo)
	for _, speaks := range servertest.Wires {
		c := s.Client(speaks, s.Issue("spiffe://interlock.test/alice"))
		for body, status := range map[string]int{`{"amount": 999}`: 200, `{"amount": 1000}`: 403, `{"amount"`: 400, "": 400, `{}`: 403} {
			got := s.Send(c, s.Request(http.MethodPut, "/execute/1", body))
			require.Equal(t, status, got.StatusCode, body)
			if status == 200 {
				require.Equal(t, body, got.Text)
			}
		}
	}
}

func TestExecuteNeitherFlushesNorHijacks(t *testing.T) {
	s := newGuardStation(t)
	s.protect("execute", httpapi.Rule{Action: "orders:read", Mode: httpapi.Execute}, func(w http.ResponseWriter, _ *http.Request) {
		rc := http.NewResponseController(w)
		_, _, hijack := rc.Hijack()
		for _, err := range []error{hijack, rc.Flush(), rc.SetReadDeadline(time.Now()), rc.SetWriteDeadline(time.Now()), rc.EnableFullDuplex()} {
			if !isUnsupported(err) {
				t.Error("supported", err)
			}
		}
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "whole")
	})
	for _, speaks := range servertest.Wires {
		got := s.Send(s.Client(speaks, s.Issue("spiffe://interlock.test/alice")), s.Request(http.MethodGet, "/execute/1", ""))
		require.Equal(t, 200, got.StatusCode)
		require.Equal(t, "whole", got.Text)
	}
}

func TestG6_ExecuteAnswersAPanicAndGoesOn(t *testing.T) {
	s := newGuardStation(t)
	s.protect("execute", httpapi.Rule{Action: "orders:read", Mode: httpapi.Execute}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "half of it")
		switch r.Method {
		case http.MethodPut:
			panic("a secret")
		case http.MethodDelete:
			panic(http.ErrAbortHandler)
		}
	})
	for _, speaks := range servertest.Wires {
		c := s.Client(speaks, s.Issue("spiffe://interlock.test/alice"))
		got := s.Send(c, s.Request(http.MethodPut, "/execute/1", ""))
		require.Equal(t, 500, got.StatusCode)
		require.Equal(t, "urn:interlock:problem:internal", got.Problem(t)["type"])
		require.NotContains(t, got.Text, "secret")
		require.NotContains(t, got.Text, "half")
		_, err := s.Try(c, s.Request(http.MethodDelete, "/execute/1", ""))
		require.Error(t, err, "http.ErrAbortHandler breaks off")
		require.Equal(t, "half of it", s.Send(c, s.Request(http.MethodGet, "/execute/1", "")).Text)
	}
	require.Contains(t, s.Log.String(), "a secret")
}

// TestG1_ExecuteIsSerializedPerPrincipal lets each handler wait for a moment for another
// one that runs at the same time: no two of a principal ever meet.
func TestG1_ExecuteIsSerializedPerPrincipal(t *testing.T) {
	s := newGuardStation(t)
	meeting := make(chan string)
	s.protect("execute", httpapi.Rule{Action: "orders:read", Mode: httpapi.Execute}, func(_ http.ResponseWriter, r *http.Request) {
		caller, _ := httpapi.CallerOf(r.Context())
		me := caller.Principal.String()
		select {
		case meeting <- me:
		case other := <-meeting:
			if me == other {
				t.Error("two at once of", me)
			}
		case <-time.After(5 * time.Millisecond):
		}
	})
	var all sync.WaitGroup
	for _, speaks := range servertest.Wires {
		for _, name := range []string{"alice", "bob"} {
			c := s.Client(speaks, s.Issue("spiffe://interlock.test/"+name))
			for range 16 {
				all.Go(func() {
					got, err := s.Try(c, s.Request(http.MethodGet, "/execute/1", ""))
					if err != nil || got.StatusCode != 200 {
						t.Error(got, err)
					}
				})
			}
		}
	}
	all.Wait()
}

// TestG7_ExecuteDelaysNoOtherPrincipal has one principal's turn wait for another principal's.
func TestG7_ExecuteDelaysNoOtherPrincipal(t *testing.T) {
	s := newGuardStation(t)
	inside := make(chan struct{})
	s.protect("execute", httpapi.Rule{Action: "orders:read", Mode: httpapi.Execute}, func(_ http.ResponseWriter, r *http.Request) {
		if caller, _ := httpapi.CallerOf(r.Context()); caller.Principal == who("alice") {
			await(t, inside)
			return
		}
		close(inside)
	})
	done := make(chan servertest.Reply, 1)
	go func() {
		got, err := s.Try(s.As("alice"), s.Request(http.MethodGet, "/execute/1", ""))
		if err != nil {
			t.Error(err)
		}
		done <- got
	}()
	require.Equal(t, 200, s.Send(s.As("bob"), s.Request(http.MethodGet, "/execute/1", "")).StatusCode)
	require.Equal(t, 200, await(t, done).StatusCode)
}
