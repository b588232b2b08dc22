package race_test

import (
	"bytes"
	"context"
	"errors"
	"html"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/bench/race"
	"github.com/interlock-authz/interlock/bench/race/demo"
	"github.com/interlock-authz/interlock/certs"
)

func start(t *testing.T, form demo.Form) *demo.Server {
	server, err := demo.Start(form, t.TempDir(), "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server
}

func run(t *testing.T, target *race.Target) *race.Report {
	report, err := race.Run(t.Context(), target, race.Options{Duration: 1500 * time.Millisecond, Seed: 1})
	require.NoError(t, err)
	require.Positive(t, report.Allowed+report.Denied)
	require.Positive(t, report.Revocations)
	require.Len(t, report.Latencies, report.Revocations)
	return report
}

// runUntil runs until a run has found something: on a machine that is busy with other tests
// one may be too short.
func runUntil(t *testing.T, target *race.Target, found func(*race.Report) bool) *race.Report {
	for end := time.Now().Add(time.Minute); ; {
		report := run(t, target)
		if found(report) {
			return report
		}
		require.True(t, time.Now().Before(end), "%+v", report.ByKind)
	}
}

// TestG2_VulnerableFormsAreFoundWrong and the guarded one is not, over the same load.
func TestG2_VulnerableFormsAreFoundWrong(t *testing.T) {
	for _, form := range demo.Forms() {
		t.Run(string(form), func(t *testing.T) {
			report := runUntil(t, start(t, form).Target(), func(r *race.Report) bool {
				return !form.Vulnerable() || r.ByKind[race.StaleUse] > 0 && r.ByKind[race.StaleEcho] > 0
			})
			var text, page bytes.Buffer
			require.NoError(t, report.Text(&text))
			require.NoError(t, race.WriteHTML(&page, report))
			require.Contains(t, page.String(), "<td>"+html.EscapeString(report.Target)+"</td>")
			if !form.Vulnerable() {
				require.Zero(t, report.ViolationCount, &text)
				require.Zero(t, report.NotQuiescent, &text)
				require.Zero(t, report.Latency.Max)
				return
			}
			require.Positive(t, report.Latency.Max)
			require.Contains(t, page.String(), "timeline of violations")
		})
	}
}

// TestTargetsWithLittleEvidence removes kinds of evidence from the example. The rest is
// sufficient, or the report says that the evidence is limited.
func TestTargetsWithLittleEvidence(t *testing.T) {
	t.Run("counter", func(t *testing.T) {
		target := start(t, demo.RWMutex).Target()
		target.Call.Use, target.Echo = nil, nil
		counter("count")(target)
		report := runUntil(t, target, func(r *race.Report) bool { return r.ByKind[race.StaleEffect] > 0 })
		require.Zero(t, report.ByKind[race.StaleUse]+report.ByKind[race.StaleEcho])
		require.False(t, report.OnlyCalls())
	})
	t.Run("answers alone", func(t *testing.T) {
		target := start(t, demo.Cache).Target()
		target.Call.Use, target.Echo, target.Effects = nil, nil, nil
		report := runUntil(t, target, func(r *race.Report) bool { return r.ByKind[race.StaleAllow]+r.ByKind[race.StaleDenial] > 0 })
		require.True(t, report.OnlyCalls())
		var text bytes.Buffer
		require.NoError(t, report.Text(&text))
		require.Contains(t, text.String(), "only the answers to whole calls were judged")
	})
	t.Run("over HTTP/2", func(t *testing.T) {
		target := start(t, demo.Lookup).Target()
		target.HTTP2 = true
		runUntil(t, target, func(r *race.Report) bool { return r.ByKind[race.StaleUse] > 0 })
		guarded := start(t, demo.Guarded).Target()
		guarded.HTTP2 = true
		require.Zero(t, run(t, guarded).ViolationCount)
	})
}

// TestTargetsThatCannotBeTested are named, and nothing is said of races.
func TestTargetsThatCannotBeTested(t *testing.T) {
	server := start(t, demo.Guarded)
	for name, c := range map[string]struct {
		spoil func(*race.Target)
		err   string
	}{
		"a change that is not acknowledged": {func(t *race.Target) { t.Grant.Body = "{}" }, "grant: race: the target is not usable: it was not acknowledged: status 400"},
		"a change without effect":           {func(t *race.Target) { t.Revoke = t.Grant }, "the call is not denied: status 200"},
		"an answer that is not described":   {func(t *race.Target) { t.Call.Allowed.Status = []int{http.StatusAccepted} }, "the call is not allowed: status 200"},
		"stamps of another clock":           {func(t *race.Target) { t.Call.Use = &race.Stamps{Start: "end", End: "start"} }, "use"},
		"no such stamps":                    {func(t *race.Target) { t.Call.Use = &race.Stamps{Start: "begin", End: "end"} }, `no "begin"`},
		"effects without the value":         {counter("total"), `effects: the answer has no "total"`},
		"a value that stands still":         {counter("entries.0.start"), "effects: a call was allowed, and the value is"},
		"a ledger of another clock": {func(t *race.Target) {
			t.Effects.Use = &race.Stamps{Start: "start", End: "start"}
			t.Effects.URL += "0000"
		}, "no new entry lies within"},
		"a ledger without stamps": {func(t *race.Target) { t.Effects.Use = &race.Stamps{Start: "a", End: "b"} }, `an entry: the answer has no "a"`},
		"an echo that is none":    {func(t *race.Target) { t.Echo.URL = t.Call.URL }, "echo: the first line did not come back"},
		"a wrong certificate":     {func(t *race.Target) { t.Call.Certificate, t.Call.Key = t.Grant.Certificate, t.Grant.Key }, "the call is not allowed: status 401"},
	} {
		t.Run(name, func(t *testing.T) {
			target := server.Target()
			c.spoil(target)
			_, err := race.Run(t.Context(), target, race.Options{Duration: time.Second, Settle: 50 * time.Millisecond})
			require.ErrorIs(t, err, race.ErrTarget)
			require.ErrorContains(t, err, c.err)
		})
	}
}

// counter leaves a target a value alone, and no ledger.
func counter(path string) func(*race.Target) {
	return func(t *race.Target) {
		t.Effects.Value, t.Effects.Entries, t.Effects.Use = path, "", nil
		t.Effects.URL = strings.ReplaceAll(t.Effects.URL, "{{.Seen}}", "0")
	}
}

// TestPermissionIsLeftGranted: whatever goes wrong, the target is not left with the
// permission taken.
func TestPermissionIsLeftGranted(t *testing.T) {
	server := start(t, demo.RWMutex)
	target := server.Target()
	target.Call.Denied.Status = []int{http.StatusUnauthorized}
	_, err := race.Run(t.Context(), target, race.Options{Settle: 20 * time.Millisecond})
	require.ErrorContains(t, err, "the call is not denied: status 403")

	config, err := certs.ClientConfig(certs.ClientOptions{CAFile: target.CA, CertFile: target.Call.Certificate, KeyFile: target.Call.Key})
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	defer client.CloseIdleConnections()
	resp, err := client.Post(target.Call.URL, "", nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

func TestInconclusiveRun(t *testing.T) {
	_, err := race.Run(t.Context(), start(t, demo.Guarded).Target(), race.Options{Duration: time.Hour, Calls: 1})
	require.ErrorIs(t, err, race.ErrInconclusive)
}

func TestRunIsBounded(t *testing.T) {
	target := start(t, demo.Guarded).Target()
	report, err := race.Run(t.Context(), target, race.Options{Duration: time.Hour, Calls: 2000})
	require.NoError(t, err)
	require.Equal(t, 2000, report.Calls)

	ctx, cancel := context.WithCancelCause(t.Context())
	_, err = race.Run(ctx, target, race.Options{Duration: time.Hour, Progress: func(p race.Progress) {
		if p.Changes > 6 {
			cancel(errors.New("enough"))
		}
	}})
	require.NoError(t, err, "what was found so far is reported")
}
