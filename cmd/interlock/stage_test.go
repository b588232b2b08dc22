package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// stage is the server of one script, and its streams.
type stage struct {
	server  *exec.Cmd
	log     bytes.Buffer
	ended   chan error
	streams map[string]*stream
}

type stageKey struct{}

func stageOf(ts *testscript.TestScript) *stage { return ts.Value(stageKey{}).(*stage) }

// patience bounds the wait for a server.
const patience = 20 * time.Second

// serving is the log line of a server that is ready.
type serving struct {
	Msg, Callers, Administrators, Operators, Proxies, Gateway string
}

func startServer(ts *testscript.TestScript, _ bool, args []string) {
	s := stageOf(ts)
	s.log.Reset()
	s.server = exec.Command("interlock", append([]string{
		"serve", "--log-format", "json",
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--operator-listen", "127.0.0.1:0", "--gateway-listen", "127.0.0.1:0",
	}, args...)...)
	s.server.Dir = ts.MkAbs(".")
	s.server.Env = append(os.Environ(), "GORACE="+ts.Getenv("GORACE"))
	output, err := s.server.StderrPipe()
	ts.Check(err)
	ts.Check(s.server.Start())
	ready := make(chan serving, 1)
	s.ended = make(chan error, 1)
	go s.follow(output, ready)
	ts.Defer(func() { _ = s.server.Process.Kill() }) // most have exited
	select {
	case at := <-ready:
		ts.Setenv("CALLERS", at.Callers)
		ts.Setenv("ADMINS", at.Administrators)
		ts.Setenv("OPERATORS", at.Operators)
		ts.Setenv("PROXIES", at.Proxies)
		ts.Setenv("GATEWAY", at.Gateway)
		checkReady(ts, at.Operators)
	case err := <-s.ended:
		ts.Fatalf("the server exited: %v\n%s", err, s.log.String())
	case <-time.After(patience):
		ts.Fatalf("the server is not ready")
	}
}

// follow reads the server's log until the server exits.
func (s *stage) follow(output io.Reader, ready chan<- serving) {
	for lines := bufio.NewScanner(output); lines.Scan(); {
		fmt.Fprintln(&s.log, lines.Text())
		var at serving
		if json.Unmarshal(lines.Bytes(), &at) == nil && at.Msg == "serving" {
			ready <- at
		}
	}
	s.ended <- s.server.Wait()
}

func checkReady(ts *testscript.TestScript, operators string) {
	resp, err := http.Get(operators + "/readyz")
	ts.Check(err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("/readyz answers %s", resp.Status)
	}
}

func stopServer(ts *testscript.TestScript, _ bool, _ []string) {
	s := stageOf(ts)
	ts.Check(s.server.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-s.ended:
		_, writeErr := s.log.WriteTo(ts.Stdout())
		ts.Check(writeErr)
		ts.Check(err)
	case <-time.After(patience):
		ts.Fatalf("the server does not exit")
	}
}

// clientOf returns a client with a certificate of ./.interlock; - for none.
func clientOf(ts *testscript.TestScript, name string) *http.Client {
	file := func(base string) string { return ts.MkAbs(filepath.Join(cli.DevFolder, base)) }
	o := certs.ClientOptions{CAFile: file("ca.crt")}
	if name != "-" {
		o.CertFile, o.KeyFile = file(name+".crt"), file(name+".key")
	}
	config, err := certs.ClientConfig(o)
	ts.Check(err)
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}}
}

func request(ts *testscript.TestScript, neg bool, args []string) {
	var body io.Reader
	if len(args) > 3 {
		body = strings.NewReader(args[3])
	}
	req, err := http.NewRequest(args[1], args[2], body)
	ts.Check(err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := clientOf(ts, args[0]).Do(req)
	if err != nil && neg {
		fmt.Fprintln(ts.Stdout(), err)
		return
	}
	ts.Check(err)
	defer resp.Body.Close()
	fmt.Fprintln(ts.Stdout(), resp.Status)
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
}

// stream is an open response.
type stream struct {
	body  io.Closer
	lines *bufio.Reader
}

func watch(ts *testscript.TestScript, _ bool, args []string) {
	resp, err := clientOf(ts, args[0]).Get(args[1])
	ts.Check(err)
	ts.Defer(func() { _ = resp.Body.Close() }) // the script is over
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("the stream answers %s", resp.Status)
	}
	stageOf(ts).streams[args[0]] = &stream{resp.Body, bufio.NewReader(resp.Body)}
	flows(ts, false, args)
}

func flows(ts *testscript.TestScript, _ bool, args []string) {
	_, err := stageOf(ts).streams[args[0]].lines.ReadString('\n')
	ts.Check(err)
}

func cut(ts *testscript.TestScript, _ bool, args []string) {
	_, err := io.Copy(io.Discard, stageOf(ts).streams[args[0]].lines)
	if err == nil {
		ts.Fatalf("the stream ended without an error")
	}
}
