package config

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestExample(t *testing.T) {
	path := t.TempDir() + "/interlock.yaml"
	require.NoError(t, os.WriteFile(path, []byte(Example), 0o600))
	c := Default()
	require.NoError(t, c.Load(path))
	require.NoError(t, c.Check())

	defaults := Default()
	defaults.path = path
	defaults.BaseURL, defaults.Data, defaults.Policy, defaults.TLS, defaults.Identity = c.BaseURL, c.Data, c.Policy, c.TLS, c.Identity
	require.Equal(t, defaults, c, "the other keys have their defaults")
	require.Len(t, c.Identity, 2)
}

// TestExampleNamesEveryKey checks that the example names every key.
func TestExampleNamesEveryKey(t *testing.T) {
	text, err := yaml.Marshal(Default())
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		key, _, _ := strings.Cut(line, ":")
		require.Contains(t, Example, strings.TrimSpace(key)+":")
	}
}
