package cli

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOutputHasTheSameFieldsInEachFormat(t *testing.T) {
	document := struct {
		Name string   `json:"name"`
		List []string `json:"list"`
	}{"12", []string{"a"}}
	for format, want := range map[string]string{
		"table": "a table\n", "json": `{"name":"12","list":["a"]}` + "\n", "yaml": "---\nname: \"12\"\nlist:\n    - a\n",
	} {
		var o Output
		require.NoError(t, o.Set(format))
		var out bytes.Buffer
		require.NoError(t, o.Write(&out, &document, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, "a table")
			return err
		}))
		require.Equal(t, want, out.String())
		require.ErrorIs(t, o.Answer(io.Discard, false, &document, "no"), ErrDenied)
	}
	require.Error(t, new(Output).Set("xml"))
}
