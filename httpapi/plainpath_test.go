package httpapi

import (
	"net/url"
	"testing"

	"pgregory.net/rapid"
)

// TestPlainPathsAreCanonical: what is taken for plain is what the whole check lets through.
func TestPlainPathsAreCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.StringMatching(`/?([a-zA-Z0-9_\-./;\\%é{]|//){0,12}`).Draw(t, "path")
		if !isPlain(path) {
			return
		}
		if err := checkCanonical(&url.URL{Path: path}); err != nil {
			t.Fatalf("%q: %v", path, err)
		}
	})
}
