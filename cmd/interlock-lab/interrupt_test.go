package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// runUntil runs interlock-lab until it has written so many lines to stderr, and then sends SIGTERM. It returns the exit
// status, and how long the command took after the signal.
func runUntil(t *testing.T, dir string, lines int, args ...string) (status int, stderr string, took time.Duration) {
	cmd := exec.Command("interlock-lab", args...)
	name, value := quickRace()
	cmd.Dir, cmd.Env = dir, append(os.Environ(), name+"="+value)
	pipe, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var text bytes.Buffer
	reader := bufio.NewReader(io.TeeReader(pipe, &text))
	for range lines {
		_, err := reader.ReadString('\n')
		require.NoError(t, err)
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	sent := time.Now()
	_, err = io.Copy(io.Discard, reader)
	require.NoError(t, err)
	var failed *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &failed)
	return failed.ExitCode(), text.String(), time.Since(sent)
}

func TestAnInterruptedBenchKeepsWhatIsComplete(t *testing.T) {
	dir := t.TempDir()
	status, stderr, _ := runUntil(t, dir, 2, "bench", "--part", "ratios,contention", "--each", "20ms", "--rounds", "2",
		"--only", "one hot principal", "--out", "found")
	require.Equal(t, 2, status)
	require.Contains(t, stderr, "error: interrupted: the part ratios is not complete, and these were not measured: contention")
	text, err := os.ReadFile(filepath.Join(dir, "found", "ratios-incomplete.md"))
	require.NoError(t, err)
	require.Contains(t, string(text), "times as fast as an actor")
	require.NoFileExists(t, filepath.Join(dir, "found", "ratios.md"))
}

// TestAnInterruptDoesNotWaitForAMeasurement interrupts measurements that take an hour.
func TestAnInterruptDoesNotWaitForAMeasurement(t *testing.T) {
	for _, args := range [][]string{
		{"--part", "ratios", "--only", "one hot principal, one caller$"},
		{"--part", "contention", "--only", "^1 principal,"},
	} {
		status, stderr, took := runUntil(t, t.TempDir(), 1, append([]string{"bench", "--each", "1h", "--slice", "1h"}, args...)...)
		require.Equal(t, 2, status)
		require.Contains(t, stderr, "error: interrupted")
		require.Less(t, took, 20*time.Second)
	}
}

func TestAnInterruptEndsTheServersOfWire(t *testing.T) {
	status, stderr, took := runUntil(t, t.TempDir(), 1, "bench", "--part", "wire", "--each", "100ms", "--rounds", "1000",
		"--only", "HTTP/1.1, 64 connections, net/http")
	require.Equal(t, 2, status)
	require.Contains(t, stderr, "error: interrupted: the part wire is not complete")
	require.Less(t, took, 20*time.Second)
}
