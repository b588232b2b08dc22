package policyfile

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
)

// TestALineBeyondItsLimit reads and writes lines of the limit and lines that are one byte longer, with a limit that is
// larger than the reader's buffer.
func TestALineBeyondItsLimit(t *testing.T) {
	const limit = 1000
	for name, end := range map[string]string{"a line": "\n", "the last line": "", "a line that goes on": strings.Repeat("x", 10*limit)} {
		s := lineSource{in: bufio.NewReaderSize(strings.NewReader("first\n"+strings.Repeat("x", limit+1)+end), 16), limit: limit}
		_, err := s.next()
		require.NoError(t, err, name)
		_, err = s.next()
		fault, ok := err.(*syntaxFault)
		require.True(t, ok, "%s: %v", name, err)
		require.ErrorIs(t, fault.err, ErrTooLarge, name)
		require.EqualValues(t, 2, fault.line, name)
	}
	s := lineSource{in: bufio.NewReaderSize(strings.NewReader(strings.Repeat("x", limit)), 16), limit: limit}
	line, err := s.next()
	require.NoError(t, err)
	require.Len(t, line, limit)

	role, err := policy.NewRole("a", []string{strings.Repeat("b", 60)}, nil)
	require.NoError(t, err)
	var text bytes.Buffer
	w := &lineWriter{w: &text, limit: limit}
	require.NoError(t, w.role(role))
	w = &lineWriter{w: io.Discard, limit: len(w.buf) - 1}
	err = w.role(role)
	require.ErrorIs(t, err, ErrTooLarge, "a line that cannot be read again is not written")
	var field *policy.FieldError
	require.ErrorAs(t, err, &field)
	require.Equal(t, "roles.a", field.Field)
}

// TestLinesHaveTheDocumentedLimit shows that readers and writers get [MaxLine].
func TestLinesHaveTheDocumentedLimit(t *testing.T) {
	require.Equal(t, MaxLine, newLineReader("p.ndjson", strings.NewReader("")).in.limit)
}
