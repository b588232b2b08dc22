package wire

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/bench/results"
)

func TestMeasure(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var progress bytes.Buffer
	d := results.New("test")
	require.NoError(t, Measure(t.Context(), Options{
		Connections: []int{2}, Rounds: 2, Each: 50 * time.Millisecond, Child: command, Progress: &progress,
	}, d))
	require.Len(t, d.Sections, 2)
	require.Equal(t, "On the wire: HTTP/1.1, 2 connections", d.Sections[0].Name)
	require.Equal(t, "On the wire: HTTP/2, 2 connections", d.Sections[1].Name)
	for _, section := range d.Sections {
		require.Len(t, section.Rows, len(servers)-1, "all but nginx")
		require.NotEmpty(t, section.Notes)
		for i, row := range section.Rows {
			require.Equal(t, servers[i].title, row.Name)
			requireMetrics(t, row, servers[i].baseline)
			if servers[i].baseline == routed {
				limit := map[string]float64{"Guard, Execute": 1.04, "Guard, Admit": 1.06}[row.Name]
				if strings.Contains(section.Name, "HTTP/2") && row.Name == "Guard, Admit" {
					limit = 1.10
				}
				require.Equal(t, &results.Target{Limit: limit}, row.Metric("CPU compared with mux and identity").Target)
			}
		}
	}
	require.Equal(t, 4, strings.Count(progress.String(), "\n"), progress.String())
	require.NoError(t, d.Markdown(&progress))
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	require.Empty(t, left, "the folder is gone")
}

func requireMetrics(t *testing.T, row *results.Row, baseline string) {
	t.Helper()
	units := map[string]string{"requests/s": "1/s", "p50": "s", "p99": "s", "CPU a request": "s"}
	switch baseline {
	case routed:
		units["CPU compared with mux and identity"] = ""
	case execute:
		units["CPU compared with Guard, Execute"] = ""
		require.Nil(t, row.Metric("CPU compared with Guard, Execute").Target)
	}
	if baseline == plainProxy {
		units["CPU compared with ReverseProxy"] = ""
		require.Equal(t, &results.Target{Limit: 1.05}, row.Metric("CPU compared with ReverseProxy").Target)
	}
	require.Len(t, row.Metrics, len(units))
	for name, unit := range units {
		m := row.Metric(name)
		require.NotNil(t, m, "%s: %s", row.Name, name)
		require.Equal(t, unit, m.Unit)
		require.Equal(t, name == "requests/s", m.More)
		require.Len(t, m.Samples, 2, "%s: %s", row.Name, name)
		for _, v := range m.Samples {
			require.Positive(t, v, "%s: %s", row.Name, name)
		}
	}
	require.Less(t, row.Metric("CPU a request").Samples[0], 1.0)
	require.LessOrEqual(t, row.Metric("p50").Samples[0], row.Metric("p99").Samples[0])
}

// Only the selected rows and their baselines are measured.
func TestMeasureOnly(t *testing.T) {
	d := results.New("test")
	require.NoError(t, Measure(t.Context(), Options{
		Connections: []int{2, 16}, Rounds: 1, Each: 10 * time.Millisecond, Child: command,
		Only: regexp.MustCompile(`HTTP/1.1, (2 .*Admit|16 .*AuthZEN)`),
	}, d))
	require.Equal(t, []string{routedTitle, "Guard, Admit"}, rowNames(d.Sections[0]))
	require.Equal(t, []string{"AuthZEN"}, rowNames(d.Sections[1]))
	require.Len(t, d.Sections, 2)
	m := d.Sections[1].Rows[0].Metric("CPU compared with OPA's 131 µs")
	require.InEpsilon(t, d.Sections[1].Rows[0].Metric("CPU a request").Samples[0]/131e-6, m.Samples[0], 1e-9)
	require.Equal(t, &results.Target{Limit: 1.0 / 3}, m.Target)

	d = results.New("test")
	require.NoError(t, Measure(t.Context(), Options{Only: regexp.MustCompile("another benchmark"), Child: command}, d))
	require.Empty(t, d.Sections)
}

const routedTitle = "mux and identity"

func rowNames(s *results.Section) (names []string) {
	for _, r := range s.Rows {
		names = append(names, r.Name)
	}
	return names
}

func TestMeasureRefusesOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no child":       {},
		"no connection":  {Child: command, Connections: []int{16, 0}},
		"other protocol": {Child: command, Protocols: []string{"h3"}},
		"no rounds":      {Child: command, Rounds: -1},
		"too short":      {Child: command, Each: time.Microsecond},
		"too long":       {Child: command, Each: time.Minute},
	} {
		d := results.New("test")
		require.ErrorIs(t, Measure(t.Context(), o, d), ErrOptions, name)
		require.Empty(t, d.Sections)
	}
}

func TestMeasureSaysWhyAChildFailed(t *testing.T) {
	for name, child := range map[string]func(context.Context, string, string) *exec.Cmd{
		"no such server": func(ctx context.Context, _, dir string) *exec.Cmd { return command(ctx, "none", dir) },
		"no such site":   func(ctx context.Context, name, dir string) *exec.Cmd { return command(ctx, name, dir+"x") },
		"no such command": func(ctx context.Context, _, dir string) *exec.Cmd {
			return exec.CommandContext(ctx, dir+"/none")
		},
	} {
		d := results.New("test")
		err := Measure(t.Context(), Options{Connections: []int{1}, Child: child}, d)
		require.ErrorIs(t, err, ErrChild, name)
		if name == "no such server" {
			require.ErrorContains(t, err, "there is no server", "the child's own words")
		}
		require.Empty(t, d.Sections)
	}
}

// The child processes end when the measurement is canceled.
func TestMeasureEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var children []*exec.Cmd
	err := Measure(ctx, Options{
		Connections: []int{2}, Rounds: 1000, Each: 5 * time.Millisecond, Progress: writer(func() { cancel() }),
		Child: func(ctx context.Context, name, dir string) *exec.Cmd {
			children = append(children, command(ctx, name, dir))
			return children[len(children)-1]
		},
	}, results.New("test"))
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, children, len(servers)-1, "all but nginx")
	for _, c := range children {
		require.NotNil(t, c.ProcessState, "it was waited for")
	}
}

type writer func()

func (w writer) Write(p []byte) (int, error) { w(); return len(p), nil }
