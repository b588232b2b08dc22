package httpapi

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWholeBodyDoesNotRelyOnItsLength: a body that says it has none can have something all
// the same, which must not be left for the turn.
func TestWholeBodyDoesNotRelyOnItsLength(t *testing.T) {
	read := func(body io.ReadCloser, length int64) ([]byte, error) {
		r := httptest.NewRequest(http.MethodPut, "/", nil)
		r.Body, r.ContentLength = body, length
		return wholeBody(httptest.NewRecorder(), r, 10)
	}
	of := func(text string) io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }
	for _, c := range []struct {
		body   io.ReadCloser
		length int64
		want   string
	}{{nil, 0, ""}, {http.NoBody, 0, ""}, {of(""), 0, ""}, {of("x"), 0, "x"}, {of("0123456789"), 0, "0123456789"}, {of("text"), -1, "text"}, {of("text"), 4, "text"}} {
		got, err := read(c.body, c.length)
		require.NoError(t, err)
		require.Equal(t, c.want, string(got))
		require.Equal(t, c.want == "", got == nil)
	}
	for _, length := range []int64{0, -1, 11} {
		_, err := read(of("01234567890"), length)
		var long *http.MaxBytesError
		require.True(t, errors.As(err, &long), "length %d: %v", length, err)
	}
	broken := errors.New("broken")
	_, err := read(io.NopCloser(io.MultiReader(strings.NewReader("x"), failingReader{broken})), 0)
	require.Error(t, err)
	_, err = read(io.NopCloser(failingReader{broken}), 0)
	require.Error(t, err)
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }
