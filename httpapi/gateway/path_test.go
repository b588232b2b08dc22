package gateway_test

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/gateway"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

// anyone identifies every request as bob, who may do everything to files.
type anyone struct{}

func (anyone) Identify(*http.Request) (*httpapi.Caller, error) {
	return &httpapi.Caller{Principal: who("bob")}, nil
}

// readings collects how the routers of an upstream read a path.
type readings struct {
	mu      sync.Mutex
	sent    string            // the target as it arrived
	readers map[string]string // the file that each router serves, "" for none
}

// routers are routers that an upstream may have. Each writes the name of the file that it would serve.
func routers(write func(router, name string)) map[string]http.Handler {
	std := http.NewServeMux()
	std.HandleFunc("/files/{id...}", func(_ http.ResponseWriter, r *http.Request) { write("net/http", r.PathValue("id")) })
	plain := mux.NewRouter()
	plain.HandleFunc("/files/{id:.*}", func(_ http.ResponseWriter, r *http.Request) { write("gorilla", mux.Vars(r)["id"]) })
	prefix := http.StripPrefix("/files/", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { write("prefix", r.URL.Path) }))
	return map[string]http.Handler{"net/http": std, "gorilla": plain, "prefix": prefix}
}

// FuzzGatewayPath sends a target through the gateway. The file that each router of the upstream
// serves must be the one that was authorized.
func FuzzGatewayPath(f *testing.F) {
	for _, target := range []string{
		"/files/1", "/files/a%20b", "/files/a%2fb", "/files/../x", "/files/%2e%2e/x", "/files//x", "/files/x/", "/files/x;v=1", "/files/a\\b",
		"/files/%", "/files/%zz", "/files/%25", "/files/a?b=c", "/files/a#b", "/files/%00", "/files/\xff", "/files/a+b", "/files/ä", "/files/%c3%a4",
		"/files/{x}", "/files/*", "/files/.", "/files/...", "/files/%41", "/./files/1", "//files/1", "http://other/files/1", "/files/a,b=c:d@e!$&'()~",
	} {
		f.Add(target)
	}
	var got readings
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got.mu.Lock()
		defer got.mu.Unlock()
		got.sent = r.RequestURI
		for _, h := range routers(func(router, name string) { got.readers[router] = name }) {
			h.ServeHTTP(httptest.NewRecorder(), r)
		}
	}))
	f.Cleanup(upstream.Close)
	s := newStation(f, kinds["http1"], http.NotFound)
	g, err := gateway.New(gateway.Config{
		Upstreams: map[string]gateway.Upstream{"files": {Addresses: []string{upstream.Listener.Addr().String()}}},
		Routes: []gateway.Route{{
			Route: routes.Route{Path: "/files/{id:.*}", Action: "files:get", Resource: "files/{id...}"}, Upstream: "files",
		}},
	}, gateway.Options{Engine: s.Engine, Identifier: anyone{}, Logger: s.Log.Logger()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(g.Close)
	f.Fuzz(func(t *testing.T, target string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: files.example\r\n\r\n")))
		if err != nil {
			return // the server rejects it
		}
		got.mu.Lock()
		got.sent, got.readers = "", map[string]string{}
		got.mu.Unlock()
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r.WithContext(context.Background()))
		got.mu.Lock()
		defer got.mu.Unlock()
		if got.sent == "" {
			if w.Code != 400 && w.Code != 403 && w.Code != 404 {
				t.Fatalf("%q: status %d and no request to the upstream", target, w.Code)
			}
			return
		}
		authorized := strings.TrimPrefix(r.URL.Path, "/files/")
		path, _, _ := strings.Cut(target, "?")
		if i := strings.Index(path, "://"); i > 0 { // the absolute form
			path = path[i+3:]
			path = path[strings.IndexByte(path, '/'):]
		}
		if sent, _, _ := strings.Cut(got.sent, "?"); sent != path {
			t.Fatalf("%q was sent as %q", path, sent)
		}
		for router := range routers(nil) {
			if name, found := got.readers[router]; !found || name != authorized {
				t.Fatalf("%q: %s serves %q (%v), authorized was %q", target, router, name, found, authorized)
			}
		}
	})
}
