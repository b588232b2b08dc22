package openapitest

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// bodyFunc is the Read of a body.
type bodyFunc func(p []byte) (int, error)

func (f bodyFunc) Read(p []byte) (int, error) { return f(p) }

// TestALongBodyIsCheckedToItsFirstGap has a part that does not fit in between parts that do.
func TestALongBodyIsCheckedToItsFirstGap(t *testing.T) {
	parts := []string{strings.Repeat("a", maxChecked-10), strings.Repeat("b", 11), "c"}
	var checked string
	body := &checkedBody{
		ReadCloser: io.NopCloser(bodyFunc(func(p []byte) (int, error) {
			if len(parts) == 0 {
				return 0, io.EOF
			}
			n := copy(p, parts[0])
			parts[0] = parts[0][n:]
			if parts[0] == "" {
				parts = parts[1:]
			}
			return n, nil
		})),
		check: func(text []byte, whole bool) error {
			require.False(t, whole)
			checked = string(text)
			return nil
		},
		report: func(err error) { require.NoError(t, err) },
	}
	buffer := make([]byte, maxChecked)
	for {
		if _, err := body.Read(buffer); err == io.EOF {
			break
		}
	}
	require.NoError(t, body.Close())
	require.True(t, strings.Repeat("a", maxChecked-10) == checked, "%d bytes", len(checked))
}
