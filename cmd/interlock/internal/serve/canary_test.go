package serve

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/canary"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/httpapi"
)

// checkThenAct is an engine whose Execute decides first and then runs the function outside of the
// turn.
type checkThenAct struct{ *actors.Engine }

func (b checkThenAct) Execute(ctx context.Context, req actors.Request, fn actors.Func) error {
	d, err := b.Decide(ctx, req)
	if err != nil {
		return err
	}
	if !d.Allowed {
		return &actors.DeniedError{Decision: d}
	}
	return fn(ctx)
}

// canaryMetrics are the metrics of a canary.
type canaryMetrics struct{ canary *canary.Canary }

func (canaryMetrics) Describe(chan<- *prometheus.Desc) {}

func (m canaryMetrics) Collect(out chan<- prometheus.Metric) {
	(&scrape{out: out, now: time.Now()}).canary(m.canary)
}

// valuesOf returns the values of the metrics of a canary, by name and outcome. That of the histogram
// is the count.
func valuesOf(t *testing.T, c *canary.Canary) map[string]float64 {
	r := prometheus.NewRegistry()
	r.MustRegister(canaryMetrics{c})
	families, err := r.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

func TestReadinessTurnsRedAtAViolation(t *testing.T) {
	for name, broken := range map[string]bool{"a sound engine": false, "a broken engine": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := slog.New(slog.DiscardHandler)
				engine, err := actors.New(actors.Options{Logger: log})
				require.NoError(t, err)
				defer func() { require.NoError(t, engine.Close(context.Background())) }()
				probed := canary.Engine(engine)
				if broken {
					probed = checkThenAct{engine}
				}
				c := config.Default()
				c.Canary.Interval = 10 * time.Second
				probe, err := newCanary(&c, probed, log)
				require.NoError(t, err)
				red := func() error { return violation(probe) }
				api := httpapi.NewOperatorAPI(httpapi.OperatorOptions{Engine: engine, Faults: red, Red: red})
				ask := func(path string) (int, string) {
					w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
					r.Host = "localhost"
					api.ServeHTTP(w, r)
					return w.Code, w.Body.String()
				}
				code, _ := ask("/readyz")
				require.Equal(t, 200, code)
				stop := (&handlers{canary: probe}).startCanary(t.Context())
				<-time.After(time.Minute)
				stop()
				for _, path := range []string{"/readyz", "/healthz"} {
					code, text := ask(path)
					if broken {
						require.Equal(t, 503, code)
						require.Contains(t, text, `"status":"red"`)
						require.Contains(t, text, "the canary found a violation of G2")
					} else {
						require.Equal(t, 200, code, text)
					}
				}
				values := valuesOf(t, probe)
				require.Equal(t, 10.0, values["interlock_canary_interval_seconds"])
				require.Equal(t, broken, values["interlock_canary_rounds_total violated"] > 0)
				require.Equal(t, broken, values["interlock_canary_violations_total"] > 0)
				require.Equal(t, !broken, values["interlock_canary_rounds_total passed"] > 0)
				require.Zero(t, values["interlock_canary_rounds_total failed"])
				require.Zero(t, values["interlock_canary_slo_misses_total"])
				require.NotZero(t, values["interlock_canary_revocation_seconds"])
				require.InDelta(t, time.Now().Unix(), values["interlock_canary_last_success_seconds"], 70)
				require.False(t, engine.Closing(), "the engine keeps running")
			})
		})
	}
}

func TestNoCanaryByDefault(t *testing.T) {
	c := config.Default()
	probe, err := newCanary(&c, nil, nil)
	require.NoError(t, err)
	require.Nil(t, probe)
	require.NoError(t, violation(probe))
	(&handlers{}).startCanary(t.Context())()
	for name, value := range valuesOf(t, probe) {
		require.Zero(t, value, name)
	}
}
