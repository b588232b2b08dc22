//go:build conformance

package actors_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

// sequence is a line of a suite: policies that follow each other, with the answers that another
// engine gave.
type sequence struct {
	Test  string `json:"test"`
	Steps []struct {
		Policy json.RawMessage `json:"policy"`
		Checks []check         `json:"checks"`
	} `json:"steps"`
}

type check struct {
	Principal  string             `json:"principal"`
	Action     string             `json:"action"`
	Resource   string             `json:"resource"`
	Properties *policy.Properties `json:"properties"`
	Allowed    bool               `json:"allowed"`
}

// TestConformanceSuites gives the answers of the engines in the folder SUITES. One engine goes
// from step to step by updates; a fresh one has each step from the start.
func TestConformanceSuites(t *testing.T) {
	folder := os.Getenv("SUITES")
	require.NotEmpty(t, folder, "set SUITES to a folder of suites")
	files, err := filepath.Glob(filepath.Join(folder, "*.jsonl.gz"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no suites in %s", folder)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			sequences, checks := 0, 0
			for s := range readSuite(t, file) {
				sequences++
				checks += s.run(t)
			}
			t.Logf("%d sequences, %d checks", sequences, checks)
			require.NotZero(t, checks)
		})
	}
}

// readSuite yields the sequences of a suite.
func readSuite(t *testing.T, file string) func(yield func(*sequence) bool) {
	return func(yield func(*sequence) bool) {
		f, err := os.Open(file)
		require.NoError(t, err)
		defer f.Close()
		unzipped, err := gzip.NewReader(f)
		require.NoError(t, err)
		lines := bufio.NewReaderSize(unzipped, 1<<20)
		for {
			line, err := lines.ReadBytes('\n')
			if len(line) > 0 {
				s := &sequence{}
				require.NoError(t, json.Unmarshal(line, s))
				if !yield(s) {
					return
				}
			}
			if errors.Is(err, io.EOF) {
				return
			}
			require.NoError(t, err)
		}
	}
}

func (s *sequence) run(t *testing.T) (checks int) {
	stepwise := suiteEngine(t, nil, nil)
	defer func() { require.NoError(t, stepwise.Close(t.Context())) }()
	before := &policyfile.File{}
	for i, step := range s.Steps {
		what := fmt.Sprintf("%s, step %d", s.Test, i)
		f, err := policyfile.Parse(what+".json", step.Policy)
		require.NoError(t, err, what)
		changes := policyfile.Diff(before.AllRoles(), before.AllGrants(), f)
		before = f
		if len(changes) > 0 {
			_, err = stepwise.Update(t.Context(), actors.Update{Changes: changes})
			require.NoError(t, err, what)
		}
		fresh := suiteEngine(t, slices.Collect(f.AllRoles()), slices.Collect(f.AllGrants()))
		for _, c := range step.Checks {
			c.run(t, "step by step: "+what, stepwise)
			c.run(t, "from scratch: "+what, fresh)
			checks++
		}
		require.NoError(t, fresh.Close(t.Context()))
	}
	return checks
}

func suiteEngine(t *testing.T, roles []*policy.Role, grants []policy.Grant) *actors.Engine {
	m, err := oplog.NewMemoryWith(roles, grants)
	require.NoError(t, err)
	e, err := actors.New(actors.Options{Log: m, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return e
}

// run asks by Decide and by Execute.
func (c *check) run(t *testing.T, what string, e *actors.Engine) {
	t.Helper()
	who, err := policy.ParsePrincipal(c.Principal)
	require.NoError(t, err, what)
	req := actors.Request{Principal: who, Action: c.Action, Resource: c.Resource, Properties: c.Properties}
	d, err := e.Decide(t.Context(), req)
	require.NoError(t, err, what)
	require.Equal(t, c.Allowed, d.Allowed, "%s: %+v: %v", what, *c, d.Explain())
	ran := false
	err = e.Execute(t.Context(), req, func(context.Context) error { ran = true; return nil })
	if !c.Allowed {
		require.ErrorIs(t, err, actors.ErrDenied, what)
	} else {
		require.NoError(t, err, what)
	}
	require.Equal(t, c.Allowed, ran, what)
}
