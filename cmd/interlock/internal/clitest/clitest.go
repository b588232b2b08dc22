// Package clitest helps to test the commands: it separates tests from the settings of the user who runs them.
package clitest

import (
	"os"
	"strings"
)

// TestingM is what [Isolated] needs of a [testing.M].
type TestingM interface{ Run() int }

// Isolated returns tests that run without the user's contexts and INTERLOCK_* variables. It keeps INTERLOCK_SOAK, which
// selects the long forms of tests. The commands that the tests start inherit this environment.
func Isolated(m TestingM) TestingM { return isolated{m} }

type isolated struct{ tests TestingM }

// Run runs the tests and returns the exit status.
func (i isolated) Run() int {
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "INTERLOCK_") && name != "INTERLOCK_SOAK" {
			must(os.Unsetenv(name))
		}
	}
	folder, err := os.MkdirTemp("", "interlock-test-")
	must(err)
	defer func() { must(os.RemoveAll(folder)) }()
	must(os.Setenv("XDG_CONFIG_HOME", folder)) // the commands do not read HOME then
	return i.tests.Run()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// QuickRace returns a variable for the environment of a command. It keeps the race detector from waiting for a second at
// the end of the process.
func QuickRace() (name, value string) { return "GORACE", os.Getenv("GORACE") + " atexit_sleep_ms=0" }
