package gateway_test

import (
	"bufio"
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"

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

// newFilesGateway is a gateway for files in front of a server, at which anyone is bob.
func newFilesGateway(t testing.TB, address string) *gateway.Gateway {
	t.Helper()
	s := newStation(t, kinds["http1"], http.NotFound)
	g, err := gateway.New(gateway.Config{
		Upstreams: map[string]gateway.Upstream{"files": {Addresses: []string{address}}},
		Routes: []gateway.Route{{
			Route: routes.Route{Path: "/files/{id:.*}", Action: "files:get", Resource: "files/{id...}"}, Upstream: "files",
		}},
	}, gateway.Options{Engine: s.Engine, Identifier: anyone{}, Logger: s.Log.Logger()})
	require.NoError(t, err)
	t.Cleanup(g.Close)
	return g
}

// pythonServer answers with the path as Python's standard library reads it.
const pythonServer = `
import http.server, urllib.parse
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536
    def do_GET(self):
        body = urllib.parse.unquote_to_bytes(urllib.parse.urlsplit(self.path).path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
`

// pathParts are what the random paths of the soak consist of.
var pathParts = []string{"a", "B", "0", "-", ".", "..", "/", "//", ";", ",", "=", "+", "~", "!", "@", ":", "%20", "%2f", "%2F", "%5c", "%25", "%00",
	"%41", "%3f", "%23", "%C3%A4", "%ff", "%", "é", "?", "#", "\\", "{", "}", "*", "&", "%E2%80%AE", "%0a", "|", "^"}

// TestG1_PythonReadsThePathThatWasAuthorized sends random paths through the gateway to a server of
// another language.
func TestG1_PythonReadsThePathThatWasAuthorized(t *testing.T) {
	if os.Getenv("INTERLOCK_SOAK") == "" {
		t.Skip("in make soak: it needs python3")
	}
	python := exec.Command("python3", "-c", pythonServer)
	output, err := python.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, python.Start())
	defer func() { _ = python.Process.Kill(); _ = python.Wait() }()
	port, err := bufio.NewReader(output).ReadString('\n')
	require.NoError(t, err)
	g := newFilesGateway(t, "127.0.0.1:"+strings.TrimSpace(port))
	rng := rand.New(rand.NewPCG(1, 2))
	served := 0
	for range 50_000 {
		target := "/files/"
		for range 1 + rng.IntN(6) {
			target += pathParts[rng.IntN(len(pathParts))]
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: files.example\r\n\r\n")))
		if err != nil {
			continue
		}
		authorized := r.URL.Path
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code == http.StatusOK {
			served++
			require.Equal(t, authorized, w.Body.String(), target)
		}
	}
	t.Logf("%d of 50,000 paths were sent, and read the same way", served)
	require.Greater(t, served, 1000)
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
	g := newFilesGateway(f, upstream.Listener.Addr().String())
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
