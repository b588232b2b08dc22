package config

import (
	"cmp"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// TestFlagsOverrideTheFile sets every flag on the command line and a different value in the file.
func TestFlagsOverrideTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "interlock.yaml")
	require.NoError(t, os.WriteFile(path, []byte(Example), 0o600))
	parse := func(args ...string) Config {
		c := Default()
		f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		c.Bind(f)
		require.NoError(t, f.Parse(args))
		require.NoError(t, c.LoadUnder(f, path))
		return c
	}
	require.Equal(t, "/var/lib/interlock", *parse().Data, "without flags the file counts")

	all := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	base := Default()
	base.Bind(all)
	all.VisitAll(func(flag *pflag.Flag) {
		value := cmp.Or(map[string]string{"log-level": "WARN", "log-decisions": "denied", "log-decisions-per-second": "7"}[flag.Name], "given")
		c := parse("--"+flag.Name, value)
		after := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		c.Bind(after)
		require.Equal(t, value, after.Lookup(flag.Name).Value.String(), flag.Name)
	})
	require.Empty(t, *parse("--data", "").Data, "an empty folder is a value")
	require.Equal(t, slog.LevelWarn, parse("--log-level", "warn").Log.Level)
}
