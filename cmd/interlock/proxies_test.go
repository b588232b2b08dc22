//go:build proxies

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/forwarded"
)

// realProxy is a proxy that asks, with its configuration in docs/proxies.md.
type realProxy struct {
	format  forwarded.Format
	version []string // the command that prints its version
	files   []string // of the documentation
	wrap    func(s *proxyStage, text string) string
	command func(s *proxyStage) []string
	refused int // the status for a path that is not canonical
}

var realProxies = []realProxy{
	{
		format: forwarded.Nginx, version: []string{"nginx", "-v"}, files: []string{"nginx.conf"}, refused: 403,
		wrap: func(s *proxyStage, text string) string {
			return "daemon off; master_process off; pid nginx.pid; error_log stderr; events {}\nhttp {\naccess_log off;\n" +
				"client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;\n" +
				strings.Replace(text, "listen 443", "listen "+s.listen, 1) + "}\n"
		},
		command: func(s *proxyStage) []string { return []string{"nginx", "-p", s.dir, "-c", "nginx.conf"} },
	},
	{
		format: forwarded.HAProxy, version: []string{"haproxy", "-v"}, files: []string{"haproxy.cfg", "interlock.lua"}, refused: 403,
		wrap: func(s *proxyStage, text string) string {
			return "defaults\n    timeout connect 5s\n    timeout client 20s\n    timeout server 20s\n\n" +
				strings.Replace(text, "bind :443", "bind "+s.listen, 1)
		},
		command: func(*proxyStage) []string { return []string{"haproxy", "-db", "-f", "haproxy.cfg"} },
	},
	{
		format: forwarded.Caddy, version: []string{"caddy", "version"}, files: []string{"Caddyfile"}, refused: 400,
		wrap: func(s *proxyStage, text string) string {
			return "{\n\tadmin off\n\tauto_https off\n}\n" + strings.Replace(text, "example.org {", "https://localhost:"+s.port()+" {\n\tbind 127.0.0.1", 1)
		},
		command: func(*proxyStage) []string {
			return []string{"caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"}
		},
	},
}

// TestProxies runs real proxies with the configurations of docs/proxies.md in front of a server that
// does not know interlock.
func TestProxies(t *testing.T) {
	for _, p := range realProxies {
		t.Run(string(p.format), func(t *testing.T) {
			if _, err := exec.LookPath(p.version[0]); err != nil {
				require.NoError(t, err, "make proxies installs it")
			}
			version, err := exec.Command(p.version[0], p.version[1:]...).CombinedOutput()
			require.NoError(t, err)
			t.Logf("%s", bytes.SplitN(version, []byte("\n"), 2)[0])
			testProxy(t, startProxy(t, p), p)
		})
	}
}

// TestProxies_ADecisionLeavesTheRace runs the race tester against nginx with auth_request, in front of
// a server that takes a moment for a write and does not look whether its client is gone. A request
// that nginx let through writes after the revocation. The same server behind the gateway shows no
// violation: the receipt waits until the server has closed the connection.
func TestProxies_ADecisionLeavesTheRace(t *testing.T) {
	s := startProxy(t, realProxies[0])
	require.Equal(t, 1, s.race(t, "https://localhost:"+s.port()), "nginx: exit status 1 is for violations")
	require.Equal(t, 0, s.race(t, s.at.Gateway), "gateway: exit status 0 is for none")
}

// race runs the race tester on the orders at a URL, and returns its exit status.
func (s *proxyStage) race(t *testing.T, at string) int {
	target, err := os.ReadFile(filepath.Join(s.dir, cli.DevFolder, cli.TargetFile))
	require.NoError(t, err)
	text := strings.ReplaceAll(string(target), s.at.Callers+"/orders/", at+"/orders/")
	require.NotEqual(t, string(target), text)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, cli.DevFolder, "race-here.yaml"), []byte(text), 0o600))
	lab := exec.Command("interlock-lab", "race", "--target", filepath.Join(cli.DevFolder, "race-here.yaml"), "--duration", "3s", "--html", "")
	lab.Dir = s.dir
	output, err := lab.CombinedOutput()
	t.Logf("%s: %v\n%s", at, err, output)
	return lab.ProcessState.ExitCode()
}

// slowWrite is what the server takes for a write in /orders/race-….
const slowWrite = 50 * time.Millisecond

// amounts are the orders that the race tester writes.
type amounts struct{ all sync.Map }

// serve answers a request for an order of the race tester. It reports whether it is one.
func (a *amounts) serve(w http.ResponseWriter, r *http.Request) bool {
	if !strings.HasPrefix(r.URL.Path, "/orders/race-") {
		return false
	}
	if r.Method == http.MethodPut {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return true // it was cut off before the work
		}
		time.Sleep(slowWrite) // the work
		a.all.Store(r.URL.Path, body)
	}
	body, _ := a.all.LoadOrStore(r.URL.Path, []byte(`{"amount":0}`))
	_, _ = w.Write(body.([]byte))
	return true
}

func testProxy(t *testing.T, s *proxyStage, p realProxy) {
	const alice = "spiffe://interlock.test/alice"

	// allowed: the server learns the caller from interlock
	status, seen := s.ask(t, "alice", http.MethodGet, "/orders/42?a=b%2Fc", nil)
	require.Equal(t, 200, status)
	require.Equal(t, "/orders/42?a=b%2Fc", seen.uri)
	require.Equal(t, []string{alice}, seen.header["Interlock-Principal"])
	require.Regexp(t, `^\d+$`, seen.header.Get("Interlock-Revision"))
	status, seen = s.ask(t, "alice", http.MethodPut, "/orders/42", nil)
	require.Equal(t, 200, status, "a body is no part of the question")
	require.Equal(t, "body", seen.body)

	// denied by the policy, by the method, and without a route
	for _, denied := range []struct{ who, method, path string }{
		{"gateway", http.MethodGet, "/orders/42"}, {"bob", http.MethodPut, "/orders/42"}, {"alice", http.MethodGet, "/orders/frozen"},
		{"alice", http.MethodGet, "/elsewhere"}, {"alice", http.MethodDelete, "/orders/42"}, {"alice", http.MethodGet, "/interlock"},
	} {
		status, seen = s.ask(t, denied.who, denied.method, denied.path, nil)
		require.Contains(t, []int{403, 404}, status, "%+v", denied)
		require.Nil(t, seen, "%+v", denied)
	}

	// no certificate
	status, seen = s.ask(t, "", http.MethodGet, "/orders/42", nil)
	require.Equal(t, 401, status)
	require.Nil(t, seen)

	// forged headers: of the identity, of the original request, and of the answer
	for _, who := range []string{"", "gateway"} {
		status, seen = s.ask(t, who, http.MethodGet, "/orders/42", s.forged(t, "alice"))
		require.Equal(t, map[string]int{"": 401, "gateway": 403}[who], status)
		require.Nil(t, seen)
	}
	forged := s.forged(t, "bob")
	forged["X-Original-Uri"], forged["X-Forwarded-Uri"] = []string{"/elsewhere"}, []string{"/elsewhere"}
	status, seen = s.ask(t, "alice", http.MethodGet, "/orders/42", forged)
	require.Equal(t, 200, status)
	require.Equal(t, []string{alice}, seen.header["Interlock-Principal"])
	require.NotContains(t, seen.header.Get("Interlock-Revision"), "forged")

	// paths that another reader could read differently
	for _, path := range []string{"/orders/a%2Fb", "/orders/4%32", "/orders/x/../42", "/orders//42", "/orders/a;b", "/orders/%2e%2e", "/orders/a%5Cb"} {
		status, seen = s.ask(t, "alice", http.MethodGet, path, nil)
		require.Contains(t, []int{p.refused, 403, 400}, status, path)
		require.Nil(t, seen, path)
	}
	status, _ = s.ask(t, "alice", http.MethodGet, "/orders/a%2Fb", nil)
	require.Equal(t, p.refused, status)

	// revoked
	status, _ = s.ask(t, "bob", http.MethodGet, "/orders/42", nil)
	require.Equal(t, 200, status)
	s.interlock(t, "revoke", "spiffe://interlock.test/bob", "order-reader", "--admin", s.at.Administrators)
	status, seen = s.ask(t, "bob", http.MethodGet, "/orders/42", nil)
	require.Equal(t, 403, status)
	require.Nil(t, seen)
	s.interlock(t, "revoke", "--certificate", ".interlock/alice.crt", "--admin", s.at.Administrators)
	status, seen = s.ask(t, "alice", http.MethodGet, "/orders/42", nil)
	require.Equal(t, 401, status)
	require.Nil(t, seen)
}

// proxyStage is interlock, a proxy that asks it, and a server behind the proxy.
type proxyStage struct {
	dir    string
	listen string // the address of the proxy
	at     serving

	mu   sync.Mutex
	seen *seenRequest
}

// seenRequest is a request that arrived at the server.
type seenRequest struct {
	uri, body string
	header    http.Header
}

func (s *proxyStage) port() string { return s.listen[strings.LastIndex(s.listen, ":")+1:] }

func startProxy(t *testing.T, p realProxy) *proxyStage {
	s := &proxyStage{dir: t.TempDir(), listen: freeAddress(t)}
	var written amounts
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if written.serve(w, r) {
			return
		}
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen = &seenRequest{uri: r.RequestURI, body: string(body), header: r.Header}
	}))
	t.Cleanup(app.Close)
	s.startInterlock(t, p.format, app.Listener.Addr().String())
	for to, from := range map[string][]string{
		"server.crt": {"server.crt"}, "server.key": {"server.key"}, "server.pem": {"server.crt", "server.key"},
		"ingress.crt": {"ingress.crt"}, "ingress.key": {"ingress.key"}, "ingress.pem": {"ingress.crt", "ingress.key"},
		"ca.crt": {"ca.crt"}, "clients-ca.crt": {"ca.crt"},
	} {
		var text []byte
		for _, name := range from {
			part, err := os.ReadFile(filepath.Join(s.dir, cli.DevFolder, name))
			require.NoError(t, err)
			text = append(text, part...)
		}
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, to), text, 0o600))
	}
	for _, name := range p.files {
		text := strings.NewReplacer(
			"127.0.0.1:8447", hostOf(t, s.at.Proxies), "127.0.0.1:9000", app.Listener.Addr().String(),
		).Replace(documented(t, name))
		if name == p.files[0] {
			text = p.wrap(s, text)
		}
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600))
	}
	s.run(t, p.command(s))
	return s
}

// startInterlock runs the server with the documented section of its configuration, and a gateway in
// front of the same server.
func (s *proxyStage) startInterlock(t *testing.T, format forwarded.Format, app string) {
	s.interlock(t, "ca", "init")
	s.interlock(t, "ca", "issue", "client", "ingress")
	section := strings.NewReplacer(
		"127.0.0.1:8447", "127.0.0.1:0", "format: nginx", "format: "+string(format), "spiffe://example.org/", "spiffe://interlock.test/",
	).Replace(documented(t, "routes.yaml"))
	section += "    - {methods: [PUT], path: \"/orders/{id}\", action: orders:watch, resource: \"orders/{id}\"}\n"
	section = strings.ReplaceAll(section, "orders:watch", "orders:change")
	section += fmt.Sprintf(`
gateway:
  upstreams:
    app: {addresses: [%q]}
  routes:
    - {methods: [PUT], path: "/orders/{id}", action: orders:change, resource: "orders/{id}", upstream: app}
    - {methods: [GET], path: "/orders/{id}", action: orders:read, resource: "orders/{id}", upstream: app}
`, app)
	policy := filepath.Join(s.dir, "policy.yaml")
	require.NoError(t, os.WriteFile(policy, []byte(proxiesPolicy), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "interlock.yaml"), []byte("policy: policy.yaml\n"+section), 0o600))

	server := exec.Command("interlock", "serve", "--dev", "--log-format", "json", "--data", "", "--config", "interlock.yaml",
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--operator-listen", "127.0.0.1:0", "--gateway-listen", "127.0.0.1:0")
	server.Dir = s.dir
	output, err := server.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	ready, ended, log := make(chan serving, 1), make(chan error, 1), &syncBuffer{}
	go func() {
		for lines := bufio.NewScanner(output); lines.Scan(); {
			fmt.Fprintln(log, lines.Text())
			var at serving
			if json.Unmarshal(lines.Bytes(), &at) == nil && at.Msg == "serving" {
				ready <- at
			}
		}
		ended <- server.Wait()
	}()
	t.Cleanup(func() {
		require.NoError(t, server.Process.Signal(syscall.SIGTERM))
		require.NoError(t, <-ended, log)
		if t.Failed() {
			t.Log(log)
		}
	})
	select {
	case s.at = <-ready:
	case <-time.After(patience):
		require.Fail(t, "interlock does not start", log)
	}
}

// proxiesPolicy is the sample policy with a right to change, which needs no amount.
const proxiesPolicy = `
roles:
  admin:
    permissions: [{actions: ["interlock:**"], resources: ["**"]}]
  order-reader:
    permissions: [{actions: ["orders:read"], resources: ["orders/**"]}]
  order-writer:
    inherits: [order-reader]
    permissions:
      - {actions: ["orders:change"], resources: ["orders/**"]}
      - {effect: deny, actions: ["orders:*"], resources: [orders/frozen]}
grants:
  - {principal: "spiffe://interlock.test/admin", role: admin}
  - {principal: "spiffe://interlock.test/alice", role: order-writer}
  - {principal: "spiffe://interlock.test/bob", role: order-reader}
`

// run runs the proxy until the test ends, and waits until it accepts connections.
func (s *proxyStage) run(t *testing.T, command []string) {
	proxy := exec.Command(command[0], command[1:]...)
	log := &syncBuffer{}
	proxy.Dir, proxy.Stdout, proxy.Stderr = s.dir, log, log
	proxy.Env = append(os.Environ(), "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir, "HOME="+s.dir)
	require.NoError(t, proxy.Start())
	ended := make(chan error, 1)
	go func() { ended <- proxy.Wait() }()
	t.Cleanup(func() {
		_ = proxy.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = proxy.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Log(log)
		}
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", s.listen)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, patience, 20*time.Millisecond, "the proxy does not start")
}

// ask sends a request to the proxy, and returns the status and what arrived at the server, nil for
// nothing. The path is sent as it is.
func (s *proxyStage) ask(t *testing.T, who, method, path string, header http.Header) (int, *seenRequest) {
	s.mu.Lock()
	s.seen = nil
	s.mu.Unlock()
	o := certs.ClientOptions{CAFile: filepath.Join(s.dir, "ca.crt")}
	if who != "" {
		o.CertFile = filepath.Join(s.dir, cli.DevFolder, who+".crt")
		o.KeyFile = filepath.Join(s.dir, cli.DevFolder, who+".key")
	}
	config, err := certs.ClientConfig(o)
	require.NoError(t, err)
	config.NextProtos, config.ServerName, config.MinVersion = []string{"http/1.1"}, "localhost", tls.VersionTLS12 // nginx before 1.23.4
	conn, err := tls.Dial("tcp", s.listen, config)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	body := ""
	if method == http.MethodPut {
		body = "body"
	}
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n", method, path, len(body))
	require.NoError(t, header.Write(conn))
	fmt.Fprintf(conn, "Connection: close\r\n\r\n%s", body)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer answer.Body.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	return answer.StatusCode, s.seen
}

// forged are headers by which a client says that it is another one, or that it was allowed.
func (s *proxyStage) forged(t *testing.T, who string) http.Header {
	text, err := os.ReadFile(filepath.Join(s.dir, cli.DevFolder, who+".crt"))
	require.NoError(t, err)
	_, inBase64, _ := strings.Cut(string(text), "\n")
	inBase64, _, _ = strings.Cut(inBase64, "-----END")
	inBase64 = ":" + strings.ReplaceAll(inBase64, "\n", "") + ":"
	return http.Header{
		"Client-Cert": {inBase64}, "Client-Cert-Chain": {inBase64}, "client_cert": {inBase64},
		"X-Ssl-Client-Escaped-Cert": {url.PathEscape(string(text))},
		"Interlock-Principal":       {"spiffe://interlock.test/" + who}, "Interlock-Revision": {"forged"},
		"X-Original-Method": {"GET"}, "X-Original-Host": {"localhost"}, "X-Original-Uri": {"/orders/42"},
		"X-Forwarded-Method": {"GET"}, "X-Forwarded-Host": {"localhost"}, "X-Forwarded-Uri": {"/orders/42"},
	}
}

func (s *proxyStage) interlock(t *testing.T, args ...string) {
	command := exec.Command("interlock", args...)
	command.Dir = s.dir
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
}

// documented returns a block of docs/proxies.md that is marked with the name.
func documented(t *testing.T, name string) string {
	text, err := os.ReadFile("../../docs/proxies.md")
	require.NoError(t, err)
	block := regexp.MustCompile("(?ms)^<!-- tested: " + regexp.QuoteMeta(name) + " -->\n```[a-z]*\n(.*?)^```$").FindStringSubmatch(string(text))
	require.NotNil(t, block, name)
	return block[1]
}

func hostOf(t *testing.T, text string) string {
	u, err := url.Parse(text)
	require.NoError(t, err)
	return "127.0.0.1:" + u.Port()
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// syncBuffer is a buffer that a process writes and a test reads.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements [io.Writer].
func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String returns what was written.
func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
