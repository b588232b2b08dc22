package race

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
)

func TestViolationsOfHistories(t *testing.T) {
	datadriven.RunTest(t, "testdata/histories.txt", func(t *testing.T, d *datadriven.TestData) string {
		var h history
		for line := range strings.SplitSeq(d.Input, "\n") {
			h.read(t, line)
		}
		var out strings.Builder
		for _, v := range h.violations() {
			fmt.Fprintf(&out, "%s %d-%d, %d after the acknowledgment\n", v.Kind, v.Start, v.End, v.Start-v.Acknowledged)
		}
		for _, v := range h.running() {
			fmt.Fprintf(&out, "%s %d-%d, until %d after the acknowledgment\n", v.Kind, v.Start, v.End, v.End-v.Acknowledged)
		}
		out.WriteString("latencies:")
		for _, l := range h.latencies() {
			fmt.Fprintf(&out, " %d", l)
		}
		return out.String() + "\n"
	})
}

// read adds a line to the history.
func (h *history) read(t *testing.T, line string) {
	f := strings.Fields(line)
	var s Span
	_, err := fmt.Sscan(f[1]+" "+f[2], &s.Start, &s.End)
	require.NoError(t, err, line)
	switch f[0] {
	case "grant", "revoke":
		h.flips = append(h.flips, flip{s, f[0] == "grant"})
	case "call":
		c := call{Span: s, outcome: map[string]outcome{"allowed": allowed, "denied": denied}[f[3]]}
		if len(f) > 4 {
			_, err = fmt.Sscan(f[4]+" "+f[5], &c.use.Start, &c.use.End)
			require.NoError(t, err, line)
		}
		h.calls = append(h.calls, c)
	case "probe":
		h.probes = append(h.probes, probe{s, f[3]})
	case "entry":
		h.entries = append(h.entries, s)
	case "echo":
		h.echoes = append(h.echoes, echo{s.Start, s.End})
	default:
		t.Fatalf("what is %q?", line)
	}
}
