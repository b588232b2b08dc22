package policy

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Limits on what is accepted as a name, in bytes. Longer names are malformed.
const (
	MaxPrincipal = 2048
	MaxAction    = 256
	MaxResource  = 2048
	MaxRoleName  = 128
)

// ErrMalformed is wrapped by every error about the form of a name or a pattern.
var ErrMalformed = errors.New("malformed name")

// Principal is a canonical identity: who acts. It is a comparable value that only
// [ParsePrincipal] makes, so holding one other than the zero Principal means that its
// text was checked. Two Principals are equal exactly when their texts are.
type Principal struct {
	id   string
	hash uint64 // of id
}

var principalSeed = maphash.MakeSeed()

// ParsePrincipal reads an identity of the form kind:name, such as
// "spiffe://example.org/orders" or "user:alice". The kind is one or more of
// [A-Za-z0-9_.-]; the name is not empty and holds valid UTF-8 without control
// characters. An identity of kind spiffe has to be a SPIFFE ID in canonical form with a
// path. The error wraps [ErrMalformed] and says what is wrong.
func ParsePrincipal(s string) (Principal, error) {
	p, err := principalOf(s)
	p.id = strings.Clone(p.id)
	return p, err
}

// principalOf is ParsePrincipal for a text that nothing else keeps: it is not copied.
func principalOf(s string) (Principal, error) {
	if len(s) > MaxPrincipal {
		return Principal{}, malformed("principal", s, "is longer than %d bytes", MaxPrincipal)
	}
	kind, name, ok := strings.Cut(s, ":")
	if !ok || !IsKind(kind) {
		return Principal{}, malformed("principal", s, "does not begin with a kind and a colon, as in spiffe://trust-domain/path or user:alice")
	}
	if name == "" {
		return Principal{}, malformed("principal", s, "has nothing after its kind")
	}
	if why := unprintable(name); why != "" {
		return Principal{}, malformed("principal", s, "%s", why)
	}
	if strings.EqualFold(kind, "spiffe") {
		id, err := spiffeid.FromString(s)
		if err != nil {
			return Principal{}, malformed("principal", s, "is not a SPIFFE ID: %v", err)
		}
		if id.String() != s || id.Path() == "" {
			return Principal{}, malformed("principal", s, "is not a SPIFFE ID in canonical form with a path")
		}
	}
	return Principal{id: s, hash: maphash.String(principalSeed, s)}, nil
}

// MustPrincipal is [ParsePrincipal] for constants; it panics on an error.
func MustPrincipal(s string) Principal {
	p, err := ParsePrincipal(s)
	if err != nil {
		panic(err)
	}
	return p
}

// String returns the identity's text; the zero Principal has none.
func (p Principal) String() string { return p.id }

// Hash returns a hash of the identity. It differs from process to process.
func (p Principal) Hash() uint64 { return p.hash }

// IsZero reports whether p is the zero Principal, which names no identity.
func (p Principal) IsZero() bool { return p.id == "" }

// MarshalText implements [encoding.TextMarshaler].
func (p Principal) MarshalText() ([]byte, error) { return []byte(p.id), nil }

// UnmarshalText implements [encoding.TextUnmarshaler] by [ParsePrincipal].
func (p *Principal) UnmarshalText(b []byte) error {
	parsed, err := principalOf(string(b))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

// IsKind reports whether s can stand before the colon of a principal or name the type of
// a resource: one or more of [A-Za-z0-9_.-].
func IsKind(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return true
}

// CheckAction says whether s can be the action of a request: 1 to [MaxAction] bytes of
// valid UTF-8 without control characters. The error wraps [ErrMalformed].
func CheckAction(s string) error { return checkName("action", s, MaxAction) }

// CheckResource says whether s can be the resource of a request: 1 to [MaxResource]
// bytes of valid UTF-8 without control characters. The error wraps [ErrMalformed].
func CheckResource(s string) error { return checkName("resource", s, MaxResource) }

func checkName(what, s string, most int) error {
	if s == "" {
		return malformed(what, s, "is empty")
	}
	if len(s) > most {
		return malformed(what, s, "is longer than %d bytes", most)
	}
	if why := unprintable(s); why != "" {
		return malformed(what, s, "%s", why)
	}
	return nil
}

// unprintable names what keeps s from being shown and compared as one line of text.
func unprintable(s string) string {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			return unprintableRune(s)
		}
	}
	return ""
}

func unprintableRune(s string) string {
	if !utf8.ValidString(s) {
		return "is not valid UTF-8"
	}
	for _, r := range s {
		if IsControl(r) {
			return fmt.Sprintf("holds the control character %U", r)
		}
	}
	return ""
}

// IsControl reports whether a character can change how a line of text is shown: a control
// character, a line or paragraph separator, or one that sets the direction of text. No name
// contains one.
func IsControl(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r)
}

func malformed(what, text, format string, args ...any) error {
	if len(text) > 120 {
		text = text[:120] + "…"
	}
	return fmt.Errorf("%w: %s %q %s", ErrMalformed, what, text, fmt.Sprintf(format, args...))
}
