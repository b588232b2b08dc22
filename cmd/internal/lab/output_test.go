package lab

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/bench/race"
)

func TestCreateNewKeepsEarlierFiles(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "report-")
	now := time.Date(2026, 11, 28, 10, 46, 2, 0, time.UTC)
	for _, want := range []string{"20261128-104602.html", "20261128-104602-2.html", "20261128-104602-3.html"} {
		path, err := createNew(prefix, ".html", now, func(path string) error {
			return writeFile(path, os.O_EXCL, func(w io.Writer) error { _, err := io.WriteString(w, want); return err })
		})
		require.NoError(t, err)
		require.Equal(t, prefix+want, path)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(text))
	}
}

func TestReportsOfRaceDoNotOverwriteEachOther(t *testing.T) {
	t.Chdir(t.TempDir())
	reports := []*race.Report{{Target: "x"}}
	first, err := (&raceTest{}).writeHTML(true, reports)
	require.NoError(t, err)
	second, err := (&raceTest{}).writeHTML(true, reports)
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	require.FileExists(t, first)
	require.FileExists(t, second)
}
