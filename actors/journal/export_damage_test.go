package journal

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
)

// Keys returns all keys of the store, by their sections.
func (j *Journal) Keys(t testing.TB) map[string][]string {
	keys := map[string][]string{}
	for section := byte('a'); section <= 'z'; section++ {
		require.NoError(t, scan(j.db, []byte{section}, nil, func(key, _ []byte) bool {
			keys[string(section)] = append(keys[string(section)], string(key))
			return true
		}))
	}
	return keys
}

// Lose takes a key away, as no disk would do it. What is left has valid checksums.
func (j *Journal) Lose(t testing.TB, key string) {
	require.NoError(t, j.db.Delete([]byte(key), pebble.Sync))
}

// Replace puts the value of another key in the place of the one that a key has. It reports
// whether that is another.
func (j *Journal) Replace(t testing.TB, key, from string) (changed bool) {
	value, err := read(j.db, []byte(from))
	require.NoError(t, err)
	before, err := read(j.db, []byte(key))
	require.NoError(t, err)
	require.NoError(t, j.db.Set([]byte(key), value, pebble.Sync))
	return !bytes.Equal(value, before)
}

// Place names a key for people.
func Place(key string) string { return placeOf([]byte(key)) }
