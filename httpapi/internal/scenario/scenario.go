// Package scenario runs files of scenarios, for tests: the same file tests clients and servers in
// several languages.
package scenario

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Play calls a function with the words of each line of a scenario. What it returns must be what the
// line has behind "->".
type Play func(t *testing.T, do func(words []string) string)

// Run runs each scenario of a file as a subtest. A scenario begins with a line "== NAME". begin
// begins one, and plays it.
func Run(t *testing.T, path string, begin func(t *testing.T, play Play)) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	scenarios := strings.Split(string(text), "\n== ")[1:]
	require.NotEmpty(t, scenarios, path)
	for _, scenario := range scenarios {
		name, lines, _ := strings.Cut(scenario, "\n")
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			begin(t, func(t *testing.T, do func(words []string) string) {
				for line := range strings.Lines(lines) {
					does, want, _ := strings.Cut(line, "->")
					if words := strings.Fields(does); len(words) > 0 {
						require.Equal(t, strings.TrimSpace(want), do(words), line)
					}
				}
			})
		})
	}
}
