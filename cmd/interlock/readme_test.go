//go:build readme

package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/cmd/interlock/internal/clitest"
)

// step is a command of the README's transcript and its output.
type step struct{ command, output string }

var transcriptBlock = regexp.MustCompile("(?ms)^<!-- transcript -->\n```console\n(.*?)^```$")

// TestReadme runs the transcripts of the README, the tutorial and the pages about the gateway and remote leases in one shell,
// against `interlock serve --dev` on its default ports. It needs bash, curl and python3.
func TestReadme(t *testing.T) {
	steps := readTranscripts(t)
	require.Greater(t, len(steps), 10)
	dir := t.TempDir()
	docs, err := filepath.Abs("../../docs")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(docs, filepath.Join(dir, "docs"))) // for the client in Python
	startDev(t, dir)
	outputs := runSteps(t, dir, steps)
	require.Len(t, outputs, len(steps))
	for i, s := range steps {
		require.Regexp(t, patternOf(s.output), outputs[i], "$ %s", s.command)
	}
}

func readTranscripts(t *testing.T) []step {
	var steps []step
	for _, page := range []string{"../../README.md", "../../docs/tutorial.md", "../../docs/gateway.md", "../../docs/leases.md"} {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, block := range transcriptBlock.FindAllStringSubmatch(string(text), -1) {
			for _, part := range strings.Split("\n"+block[1], "\n$ ")[1:] {
				steps = append(steps, splitStep(part+"\n"))
			}
		}
	}
	return steps
}

// splitStep separates a command from its output. Lines that begin with four spaces continue the command.
func splitStep(part string) step {
	lines := strings.SplitAfter(part, "\n")
	n := 1
	for n < len(lines) && strings.HasPrefix(lines[n], "    ") {
		n++
	}
	return step{command: strings.Join(lines[:n], ""), output: strings.Join(lines[n:], "")}
}

// patternOf returns a pattern for an output. A line … matches any lines; … within a line matches any text.
func patternOf(output string) *regexp.Regexp {
	pattern := regexp.QuoteMeta(strings.TrimSpace(output))
	pattern = regexp.MustCompile(`(?m)^…$`).ReplaceAllString(pattern, `(?s:.*)`)
	return regexp.MustCompile(`^` + strings.ReplaceAll(pattern, "…", ".*") + `$`)
}

func startDev(t *testing.T, dir string) {
	var log bytes.Buffer
	server := exec.Command("interlock", "serve", "--dev")
	server.Dir, server.Stderr = dir, &log
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		require.NoError(t, server.Process.Signal(syscall.SIGTERM))
		require.NoError(t, server.Wait(), "the server's end: %s", &log)
	})
	require.Eventually(t, func() bool {
		resp, err := http.Get("http://localhost:8445/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, patience, 20*time.Millisecond, "the server is not ready")
}

// runSteps runs the commands in one bash and returns their outputs.
func runSteps(t *testing.T, dir string, steps []step) []string {
	const mark = "\x00"
	var script strings.Builder
	for _, s := range steps {
		script.WriteString(s.command + "printf '\\0'\n")
	}
	path := filepath.Join(dir, "transcript.sh")
	require.NoError(t, os.WriteFile(path, []byte(script.String()), 0o600))
	output, err := os.Create(filepath.Join(dir, "transcript.out"))
	require.NoError(t, err)
	defer output.Close()
	name, value := clitest.QuickRace()
	bash := exec.Command("bash", path)
	bash.Dir, bash.Stdout, bash.Stderr = dir, output, output
	bash.Env = append(os.Environ(), name+"="+value)
	require.NoError(t, bash.Run())
	_, err = output.Seek(0, io.SeekStart)
	require.NoError(t, err)
	text, err := io.ReadAll(output)
	require.NoError(t, err)
	parts := strings.Split(strings.TrimSuffix(string(text), mark), mark)
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

func TestPatternOf(t *testing.T) {
	for i, c := range []struct {
		output, got string
		matches     bool
	}{
		{"one\n…\ntwo\n", "one\n1\n2\ntwo", true},
		{"one …\n", "one\ntwo", false},
		{"a.c\n", "abc", false},
		{`{"lease":…,"x":1}` + "\n", `{"lease":7,"x":1}`, true},
		{"\n", "something", false},
	} {
		require.Equal(t, c.matches, patternOf(c.output).MatchString(c.got), strconv.Itoa(i))
	}
}
