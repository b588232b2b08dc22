package race

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestG2_AUseThatOutlivesItsRevocationIsAViolation is an API that checks, waits and writes,
// with stamps from the check to the write.
func TestG2_AUseThatOutlivesItsRevocationIsAViolation(t *testing.T) {
	h := history{
		flips: []flip{{Span{0, 10}, true}, {Span{50, 60}, false}, {Span{100, 110}, true}, {Span{150, 160}, false}, {Span{200, 210}, true}},
		calls: []call{
			{Span: Span{40, 80}, outcome: allowed, use: Span{45, 70}},
			{Span: Span{65, 75}, outcome: denied},
			{Span: Span{120, 130}, outcome: allowed, use: Span{122, 128}},
		},
	}
	for _, test := range []struct {
		promise    Promise
		violations int
		text       []string
	}{
		{"", 1, []string{"promise: quiescent", "stale: 0", "not quiescent: 1", "verdict: not quiescent, 1 violations"}},
		{Quiescent, 1, []string{"verdict: not quiescent"}},
		{NoNewStarts, 0, []string{"not quiescent: 1", "not counted, because the target promises no-new-starts", "verdict: no violation of the promise no-new-starts"}},
	} {
		r := &runner{target: &Target{Name: "x", Promise: test.promise}, history: h}
		report := r.report(1)
		require.Equal(t, test.violations, report.ViolationCount)
		require.Equal(t, 1, report.NotQuiescent)
		require.Zero(t, report.Stale)
		var text, page bytes.Buffer
		require.NoError(t, report.Text(&text))
		for _, want := range test.text {
			require.Contains(t, text.String(), want)
		}
		require.NoError(t, WriteHTML(&page, report))
		require.Equal(t, test.violations > 0, bytes.Contains(page.Bytes(), []byte(`class="running"`)), "the use is drawn")
	}
}
