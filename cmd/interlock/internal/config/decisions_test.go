package config

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

func TestLogOfDecisions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "interlock.yaml")
	load := func(line string, flags ...string) (Config, error) {
		require.NoError(t, os.WriteFile(path, []byte("log:\n  "+line+"\n"), 0o600))
		c := Default()
		f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		f.SetOutput(io.Discard)
		c.Bind(f)
		if err := f.Parse(flags); err != nil {
			return c, err
		}
		err := c.LoadUnder(f, path)
		return c, err
	}
	for line, want := range map[string]Decisions{
		"level: info": LogNone, "decisions: off": LogNone, `decisions: "off"`: LogNone, "decisions: denied": LogDenied, "decisions: all": LogAll,
	} {
		c, err := load(line)
		require.NoError(t, err, line)
		require.Equal(t, want, c.Log.Decisions, line)
	}
	c, err := load("decisions-per-second: 7")
	require.NoError(t, err)
	require.EqualValues(t, 7, c.Log.DecisionsPerSecond)
	for line, want := range map[string]string{
		"decisions: some":           `:2:14: log.decisions: "some" is not possible here: must be denied, all or off`,
		"decisions: true":           `:2:14: log.decisions: "true" is not possible here: must be denied, all or off`,
		"decisions-per-second: 0":   `:2:25: log.decisions-per-second: "0" is not possible here: must be a whole number from 1 to 100000`,
		"decisions-per-second: -5":  `:2:25: log.decisions-per-second: "-5" is not possible here`,
		"decisions-per-second: 1e9": `:2:25: log.decisions-per-second: "1e9" is not possible here`,
	} {
		_, err := load(line)
		require.ErrorContains(t, err, path+want, line)
	}
	c, err = load("decisions: all", "--log-decisions", "denied", "--log-decisions-per-second", "3")
	require.NoError(t, err)
	require.Equal(t, LogDenied, c.Log.Decisions, "a flag overrides the file")
	require.EqualValues(t, 3, c.Log.DecisionsPerSecond)
	_, err = load("level: info", "--log-decisions", "some")
	require.ErrorContains(t, err, "must be denied, all or off")
}
