package openapitest

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestALongBodyIsCheckedToItsFirstGap has a part that does not fit in between parts that do.
func TestALongBodyIsCheckedToItsFirstGap(t *testing.T) {
	fits := strings.Repeat("a", maxChecked-10)
	var checked string
	body := &checkedBody{
		ReadCloser: io.NopCloser(io.MultiReader(strings.NewReader(fits), strings.NewReader(strings.Repeat("b", 11)), strings.NewReader("c"))),
		check: func(text []byte, whole bool) error {
			require.False(t, whole)
			checked = string(text)
			return nil
		},
		report: func(err error) { require.NoError(t, err) },
	}
	for buffer := make([]byte, maxChecked); ; { // one part at a time
		if _, err := body.Read(buffer); err == io.EOF {
			break
		}
	}
	require.NoError(t, body.Close())
	require.True(t, checked == fits, "%d bytes", len(checked))
}
