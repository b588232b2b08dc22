package policyfile

// Limits of a memo: what is remembered, and for texts of how many bytes.
const (
	maxMemo     = 1 << 16
	maxMemoText = 512
)

// memo remembers what was made of a text, so that a million equal ones are made once and
// share their memory. What cannot be made is not remembered.
type memo[T any] struct{ known map[string]T }

// of returns what was made of the text before, or makes it.
func (m *memo[T]) of(text []byte, parse func(text []byte) (T, bool)) (T, bool) {
	if v, ok := m.known[string(text)]; ok {
		return v, true
	}
	v, ok := parse(text)
	if ok && len(text) <= maxMemoText && len(m.known) < maxMemo {
		if m.known == nil {
			m.known = make(map[string]T)
		}
		m.known[string(text)] = v
	}
	return v, ok
}
