package contexts

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAContextKeepsItsSettings(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	current, err := Current()
	require.NoError(t, err)
	require.Empty(t, current, "without a file")

	c, err := Context{CA: "/ca.crt"}.with(Context{Admin: "https://localhost:8444", Cert: "me.crt"})
	require.NoError(t, err)
	folder, err := os.Getwd()
	require.NoError(t, err)
	require.Equal(t, Context{Admin: "https://localhost:8444", CA: "/ca.crt", Cert: filepath.Join(folder, "me.crt")}, c)
	require.NoError(t, (&file{Current: "prod", Contexts: map[string]Context{"prod": c}}).save())
	current, err = Current()
	require.NoError(t, err)
	require.Equal(t, c, current)

	require.NoError(t, (&file{Current: "gone"}).save())
	_, err = Current()
	require.EqualError(t, err, `context "gone": unknown`)
}

func TestAURLNeedsAScheme(t *testing.T) {
	require.NoError(t, CheckURL("--admin", "https://localhost:8444"))
	require.EqualError(t, CheckURL("--admin", "localhost:8444"), `--admin: "localhost:8444" has no scheme`)
	_, err := Context{}.with(Context{Server: "localhost"})
	require.EqualError(t, err, `--server: "localhost" has no scheme`)
}
