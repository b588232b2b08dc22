package main

import (
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/clitest"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/cmd/internal/lab"
)

// TestMain makes this test binary the commands interlock and interlock-lab, and runs the tests without the settings of
// the user. The servers of the scripts run it; the other commands of the scripts run what [buildClient] builds.
func TestMain(m *testing.M) {
	testscript.Main(clitest.Isolated(m), map[string]func(){"interlock": main, "interlock-lab": func() {
		os.Exit(cli.Run(lab.Command(), os.Args[1:], os.Stdout, os.Stderr))
	}, "flood": flood})
}

// TestScripts runs the scripts of testdata/script. They have these commands besides those of testscript:
//
//	exits N COMMAND…             runs the command and requires exit status N
//	serve ARGUMENTS…             starts interlock serve on free ports, named by $CALLERS, $ADMINS, $OPERATORS, $PROXIES and $GATEWAY
//	halt                         stops the server with SIGTERM and requires exit status 0; prints its log
//	request NAME METHOD URL BODY sends a request with the certificate of that name; - for none
//	watch NAME URL               opens a stream with the certificate of that name and reads a line
//	flows NAME, cut NAME         requires another line of the stream; requires that the server broke it
//	expired NAME, two-ids NAME   issues an expired client certificate; one with two SPIFFE IDs
//	eventually N COMMAND…        repeats the command until its exit status is N
//	hangup                       sends SIGHUP to the server
//	served NAME                  waits until the server serves with the certificate of that name
//	fingerprint NAME             puts the SHA-256 of that certificate into $FINGERPRINT
func TestScripts(t *testing.T) {
	clients := buildClient(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values[stageKey{}] = &stage{streams: map[string]*stream{}}
			env.Setenv(clitest.QuickRace())
			env.Setenv("PATH", clients+string(filepath.ListSeparator)+env.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "serve": startServer, "halt": stopServer, "request": request,
			"watch": watch, "flows": flows, "cut": cut, "expired": issueExpired, "two-ids": issueTwoIDs,
			"fingerprint": fingerprint, "eventually": eventually, "hangup": hangUp, "served": served,
		},
	})
}

// buildClient builds interlock without the race detector and returns its folder. The scripts run it several hundred times,
// and it starts several times faster than this test binary.
func buildClient(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	output, err := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", folder, ".").CombinedOutput()
	require.NoError(t, err, string(output))
	return folder
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	status := 0
	err = ts.Exec(args[1], args[2:]...)
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		status, err = failed.ExitCode(), nil
	}
	ts.Check(err)
	if status != want {
		ts.Fatalf("exit status %d, not %d", status, want)
	}
}

func eventually(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	for end := time.Now().Add(patience); ; {
		status := 0
		err := ts.Exec(args[1], args[2:]...)
		if failed, ok := errors.AsType[*exec.ExitError](err); ok {
			status, err = failed.ExitCode(), nil
		}
		ts.Check(err)
		if status == want {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("exit status %d, and never %d", status, want)
		}
	}
}

func hangUp(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(stageOf(ts).server.Process.Signal(syscall.SIGHUP))
}

func served(ts *testscript.TestScript, _ bool, args []string) {
	text, err := os.ReadFile(ts.MkAbs(filepath.Join(cli.DevFolder, args[0]+".crt")))
	ts.Check(err)
	want, err := certs.ParseCertificates(args[0], text)
	ts.Check(err)
	transport := clientOf(ts, "-").Transport.(*http.Transport)
	at := strings.TrimPrefix(ts.Getenv("CALLERS"), "https://")
	for end := time.Now().Add(patience); ; {
		conn, err := tls.Dial("tcp", at, transport.TLSClientConfig)
		ts.Check(err)
		got := conn.ConnectionState().PeerCertificates[0]
		ts.Check(conn.Close())
		if got.Equal(want[0]) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("the server still serves with another certificate")
		}
	}
}
