package leases

import (
	"encoding/hex"
	"net/http"

	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// id is the ID of a lease: 128 bits that its client chose at random.
type id [16]byte

// parseID reads 32 lower-case hexadecimal digits. One lease has one spelling.
func parseID(text string) (id, bool) {
	var x id
	if len(text) != 2*len(x) {
		return x, false
	}
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return x, false
		}
	}
	_, err := hex.Decode(x[:], []byte(text))
	return x, err == nil
}

// UnmarshalText is [parseID].
func (x *id) UnmarshalText(text []byte) error {
	parsed, ok := parseID(string(text)) // does not escape
	if !ok {
		return web.TextError("is not 32 lower-case hexadecimal digits")
	}
	*x = parsed
	return nil
}

// String returns the digits.
func (x id) String() string { return hex.EncodeToString(x[:]) }

func malformedID() error {
	return web.NewProblem(http.StatusBadRequest, "malformed-lease", "Malformed lease",
		"The ID of a lease is 32 lower-case hexadecimal digits: 128 random bits that the client chose.")
}

// maxSession bounds the ID of a session, in bytes.
const maxSession = 64

func isSession(text string) bool {
	for i := range len(text) {
		c := text[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return text != "" && len(text) <= maxSession
}
