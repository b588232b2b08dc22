package clitest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/cmd/interlock/internal/clitest"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/contexts"
)

func TestMain(m *testing.M) { os.Exit(clitest.Isolated(m).Run()) }

// TestSettingsOfTheUserAreNotRead runs itself again with a context and a variable of the user.
func TestSettingsOfTheUserAreNotRead(t *testing.T) {
	current, err := contexts.Current()
	require.NoError(t, err)
	require.Empty(t, current)
	require.Empty(t, contexts.FromEnvironment())
	if os.Getenv("RUN_AGAIN") != "" {
		require.Equal(t, "1", os.Getenv("INTERLOCK_SOAK"))
		return
	}
	home := t.TempDir()
	folder := filepath.Join(home, ".config", "interlock")
	require.NoError(t, os.MkdirAll(folder, 0o700))
	config := "current-context: prod\ncontexts:\n  prod: {admin: \"https://prod.example\"}\n"
	require.NoError(t, os.WriteFile(filepath.Join(folder, "config.yaml"), []byte(config), 0o600))
	for _, xdg := range []string{"", filepath.Join(home, ".config")} {
		again := exec.Command(os.Args[0], "-test.run=^TestSettingsOfTheUserAreNotRead$")
		again.Env = append(os.Environ(), "RUN_AGAIN=1", "HOME="+home, "XDG_CONFIG_HOME="+xdg,
			"INTERLOCK_ADMIN=https://prod.example", "INTERLOCK_SOAK=1")
		text, err := again.CombinedOutput()
		require.NoError(t, err, string(text))
	}
}
