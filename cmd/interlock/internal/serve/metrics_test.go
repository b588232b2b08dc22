package serve

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/interlock-authz/interlock/actors/policy"
)

// startDev runs a server with --dev in a new folder and returns the URL of its listener for
// operators. It ends with the test.
func startDev(t *testing.T) (operators string) {
	t.Helper()
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	cmd := Command()
	cmd.SetErr(writer)
	args := []string{"--dev", "--log-format", "json"}
	for _, name := range []string{"listen", "admin-listen", "operator-listen", "gateway-listen"} {
		args = append(args, "--"+name, "127.0.0.1:0")
	}
	cmd.SetArgs(args)
	var running sync.WaitGroup
	running.Go(func() {
		err := cmd.ExecuteContext(ctx)
		_ = writer.CloseWithError(io.EOF)
		if err != nil {
			t.Errorf("the server: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	lines := bufio.NewScanner(reader)
	for operators == "" && lines.Scan() {
		var line struct{ Msg, Operators string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			operators = line.Operators
		}
	}
	require.NotEmpty(t, operators)
	running.Go(func() { _, _ = io.Copy(io.Discard, reader) })
	return operators
}

var typeLine = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)

// served returns the types of the metrics of a server by their names.
func served(t *testing.T, operators string) map[string]string {
	t.Helper()
	resp, err := http.Get(operators + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	types := map[string]string{}
	for _, m := range typeLine.FindAllSubmatch(text, -1) {
		types[string(m[1])] = string(m[2])
	}
	return types
}

// repository is the root of the repository, found before the tests change the folder.
var repository = func() string {
	root, err := filepath.Abs("../../../..")
	if err != nil {
		panic(err)
	}
	return root
}()

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, name))
	require.NoError(t, err)
	return text
}

var metricName = regexp.MustCompile(`\b(?:interlock|go|process)_[a-z_]+\b`)

// TestMetricsOfDeployExist checks that the dashboard and the alerts use metrics that a server has.
func TestMetricsOfDeployExist(t *testing.T) {
	types := served(t, startDev(t))
	check := func(file string, expressions []string) {
		require.NotEmpty(t, expressions, file)
		used := map[string]bool{}
		for _, e := range expressions {
			found := metricName.FindAllString(e, -1)
			require.True(t, len(found) > 0 || strings.Contains(e, "up{"), "%s: %q has no metric", file, e)
			for _, name := range found {
				base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
				if types[base] == "histogram" {
					require.NotEqual(t, base, name, "%s: %q needs _bucket, _sum or _count", file, e)
					name = base
				}
				require.Contains(t, types, name, "%s: %q", file, e)
				used[name] = true
			}
		}
		t.Logf("%s: %d expressions, %d metrics", file, len(expressions), len(used))
		if file == "deploy/grafana.json" {
			for name := range types {
				if strings.HasPrefix(name, "interlock_") {
					require.True(t, used[name], "%s has no panel for %s", file, name)
				}
			}
		}
	}

	var dashboard struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(read(t, "deploy/grafana.json"), &dashboard))
	var expressions []string
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	check("deploy/grafana.json", expressions)

	var alerts struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	require.NoError(t, yaml.Unmarshal(read(t, "deploy/alerts.yaml"), &alerts))
	expressions = nil
	docs := string(read(t, "docs/operations.md"))
	for _, g := range alerts.Groups {
		for _, rule := range g.Rules {
			expressions = append(expressions, rule.Expr)
			require.Contains(t, docs, "`"+rule.Alert+"`", "docs/operations.md names every alert")
			require.Contains(t, string(read(t, "deploy/alerts_test.yaml")), fmt.Sprintf("alertname=%q", rule.Alert), "each alert has a test")
		}
	}
	check("deploy/alerts.yaml", expressions)
}

// TestMetricsAreDocumented checks that the table in docs/operations.md has the metrics of a server,
// with their types, and no others.
func TestMetricsAreDocumented(t *testing.T) {
	types := served(t, startDev(t))
	maps.DeleteFunc(types, func(name, _ string) bool { return !strings.HasPrefix(name, "interlock_") })
	require.Contains(t, types, "interlock_gateway_requests_total", "--dev has a gateway")
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(interlock_[a-z_]+)` \\| ([a-z]+) \\|").FindAllSubmatch(read(t, "docs/operations.md"), -1) {
		documented[string(m[1])] = string(m[2])
	}
	require.Equal(t, types, documented)
}

// TestMetricsHaveBoundedLabels checks the label names, and that each reason has its series.
func TestMetricsHaveBoundedLabels(t *testing.T) {
	resp, err := http.Get(startDev(t) + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	labels := map[string]bool{}
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte("interlock_")) {
			for _, m := range regexp.MustCompile(`[{,]([a-z]+)="`).FindAllSubmatch(line, -1) {
				labels[string(m[1])] = true
			}
		}
	}
	require.Equal(t, []string{"event", "how", "kind", "le", "outcome", "reason", "why"}, slices.Sorted(maps.Keys(labels)))
	docs := string(read(t, "docs/operations.md"))
	for reason := policy.ReasonAllowed; !strings.HasPrefix(reason.String(), "reason("); reason++ {
		require.Contains(t, string(text), fmt.Sprintf("reason=%q", reason.String()))
		require.Contains(t, docs, "`"+reason.String()+"`")
	}
}

func TestAgeIsNeverNegative(t *testing.T) {
	require.Zero(t, ageAt(time.Unix(5, 0), time.Time{}))
	require.Zero(t, ageAt(time.Unix(5, 0), time.Unix(6, 0)))
	require.Equal(t, 2.0, ageAt(time.Unix(5, 0), time.Unix(3, 0)))
}
