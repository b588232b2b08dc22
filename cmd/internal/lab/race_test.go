package lab

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/bench/race"
	"github.com/interlock-authz/interlock/bench/race/demo"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// runRace runs race, and cancels its context at a progress for which interrupt returns true.
func runRace(t *testing.T, interrupt func(target string, p race.Progress) bool, args ...string) (output string, err error) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := (&raceTest{watch: func(target string, p race.Progress) {
		if interrupt(target, p) {
			cancel()
		}
	}}).command()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.ExecuteContext(ctx)
	return out.String(), err
}

func TestAnInterruptedDemoReportsTheFormsThatHaveFinished(t *testing.T) {
	html := filepath.Join(t.TempDir(), "demo.html")
	firstHasFinished := func(target string, _ race.Progress) bool { return strings.HasPrefix(target, "b ") }
	output, err := runRace(t, firstHasFinished, "--demo", "--duration", "4s", "--html", html)
	require.ErrorIs(t, err, cli.ErrInterrupted)
	require.ErrorContains(t, err, "not tested: b ")
	require.Contains(t, output, "\na looked up, then acted on")
	require.NotContains(t, output, "\nb ")
	require.FileExists(t, html)
}

func TestAnInterruptedTestOfATargetIsNotAVerdict(t *testing.T) {
	server, err := demo.Start(demo.Forms()[3], t.TempDir(), "127.0.0.1:0")
	require.NoError(t, err)
	defer server.Close()
	target, err := server.WriteTarget()
	require.NoError(t, err)
	html := filepath.Join(t.TempDir(), "race.html")
	begun := time.Now()
	output, err := runRace(t, func(_ string, p race.Progress) bool { return p.Changes >= 4 },
		"--target", target, "--duration", "1h", "--html", html)
	require.Less(t, time.Since(begun), time.Minute)
	require.ErrorIs(t, err, cli.ErrInterrupted)
	require.Contains(t, output, "verdict: no violation")
	require.FileExists(t, html)
}
