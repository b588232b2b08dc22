package cli

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// SECURITY, line 33.
func TestTextForPeopleHasNoControlCharacters(t *testing.T) {
	for text, want := range map[string]string{
		"a\tb\n":                   "a\tb\n",
		"äöü €":                    "äöü €",
		"\x1b[2Jgone":              `\u001b[2Jgone`,
		"read \u202eetirw\u202c":   `read \u202eetirw\u202c`,
		"a\u2028b\rc\u0085":        `a\u2028b\u000dc\u0085`,
		"\xff\xfe and \ufffd here": `\xff\xfe and ` + "\ufffd here",
	} {
		var out bytes.Buffer
		n, err := plain{&out}.Write([]byte(text))
		require.NoError(t, err)
		require.Equal(t, len(text), n)
		require.Equal(t, want, out.String())
	}
	for format, want := range map[Output]string{outputTable: `\u202ex` + "\n", outputJSON: `{"reason":"\u202ex"}` + "\n"} {
		var out bytes.Buffer
		require.NoError(t, format.Write(&out, map[string]string{"reason": "\u202ex"}, func(out io.Writer) error {
			_, err := io.WriteString(out, "\u202ex\n")
			return err
		}))
		require.Equal(t, want, out.String())
	}
}
