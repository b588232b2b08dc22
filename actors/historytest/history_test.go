package historytest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
)

// TestHistoriesInTestdata checks written histories, legal and illegal ones.
// Each line is the event's interval on the logical clock and the event itself.
func TestHistoriesInTestdata(t *testing.T) {
	datadriven.RunTest(t, "testdata/histories/cases.txt", func(t *testing.T, d *datadriven.TestData) string {
		var ops []porcupine.Operation
		for line := range strings.Lines(d.Input) {
			ops = append(ops, parseEvent(t, line))
		}
		if porcupine.CheckOperations(Model, ops) {
			return "legal"
		}
		return "illegal"
	})
}

// parseEvent reads lines such as "1 4 begin c0 a1", "5 9 apply r2 a0 a2", "5 9 quiesce r2".
func parseEvent(t *testing.T, line string) porcupine.Operation {
	t.Helper()
	fields := strings.Fields(line)
	var op porcupine.Operation
	_, err := fmt.Sscan(fields[0]+" "+fields[1], &op.Call, &op.Return)
	require.NoError(t, err, line)
	e := Event{Kind: -1}
	for i, name := range eventNames {
		if name == fields[2] {
			e.Kind = Kind(i)
		}
	}
	require.GreaterOrEqual(t, int(e.Kind), 0, line)
	for _, f := range fields[3:] {
		var n int
		_, err := fmt.Sscan(f[1:], &n)
		require.NoError(t, err, line)
		switch f[0] {
		case 'c':
			e.Client = n
		case 'r':
			e.Revision = uint64(n)
		case 'a':
			e.Action, e.Allowed[n] = n, true
		}
	}
	op.Input, op.ClientId = e, e.Client
	return op
}
