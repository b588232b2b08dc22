package main

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test binary the command interlock-lab for scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"interlock-lab": main})
}

// TestScripts runs the scripts of testdata/script. In addition to the commands of testscript they have:
//
//	exits N COMMAND…  runs the command and requires exit status N
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv(quickRace())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// quickRace keeps the race detector from waiting for a second at the end of each process.
func quickRace() (name, value string) {
	return "GORACE", os.Getenv("GORACE") + " atexit_sleep_ms=0"
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
