package cli

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/interlock-authz/interlock/actors/policy"
)

// plain is a writer of text for people. It writes a character that changes how a terminal shows a line as \u202e, for
// example: reasons, names and messages come from others. Line feeds and tabs stay. A text of one call is whole.
type plain struct{ io.Writer }

// Write implements [io.Writer].
func (p plain) Write(text []byte) (int, error) {
	if !bytes.ContainsFunc(text, isHidden) {
		return p.Writer.Write(text)
	}
	var shown bytes.Buffer
	for rest := text; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&shown, `\x%02x`, rest[0])
		case r != utf8.RuneError && isHidden(r):
			fmt.Fprintf(&shown, `\u%04x`, r)
		default:
			shown.Write(rest[:n])
		}
		rest = rest[n:]
	}
	if _, err := p.Writer.Write(shown.Bytes()); err != nil {
		return 0, err
	}
	return len(text), nil
}

// isHidden includes utf8.RuneError, which stands for a byte that is not UTF-8.
func isHidden(r rune) bool {
	return r != '\n' && r != '\t' && (r == utf8.RuneError || policy.IsControl(r))
}
