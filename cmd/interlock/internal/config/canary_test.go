package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCanary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "interlock.yaml")
	for text, want := range map[string]string{
		"":                           "",
		"canary: {interval: 0s}":     "",
		"canary: {interval: 2s}":     "",
		"canary: {interval: 1999ms}": "canary.interval is 1.999s; it must be at least 2s, or 0s for no canary",
		"canary: {interval: -10s}":   "canary.interval is -10s",
		"canary: {slo: 0s}":          "canary.slo is 0s; it must be positive and at most 30s",
		"canary: {slo: -1s}":         "canary.slo is -1s",
		"canary: {slo: 31s}":         "canary.slo is 31s",
		"canary: {slo: 1ms}":         "",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text+"\n"), 0o600))
		c := Default()
		require.NoError(t, c.Load(path))
		if want == "" {
			require.NoError(t, c.Canary.check(), text)
		} else {
			require.ErrorContains(t, c.Check(), want)
		}
	}
	c := Default()
	require.Zero(t, c.Canary.Interval, "off by default")
	require.Equal(t, time.Second, c.Canary.SLO)
}
