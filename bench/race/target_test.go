package race_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/bench/race"
	"github.com/interlock-authz/interlock/bench/race/demo"
)

// target is a whole one, as a file.
const target = `name: mine
ca: ca.crt
call:
  method: POST
  url: https://localhost:1/things/{{.Number}}
  body: '{"n": {{.Number}}}'
  certificate: a.crt
  key: a.key
  allowed: {status: [200]}
  denied: {status: [403]}
grant: &change
  method: PUT
  url: https://localhost:1/grant
  certificate: b.crt
  key: b.key
  acknowledged: {status: [200], where: {done.0: "true"}}
revoke: *change
`

func TestTargetFile(t *testing.T) {
	load := func(text string) (*race.Target, error) {
		path := filepath.Join(t.TempDir(), "target.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return race.LoadTarget(path)
	}
	whole, err := load(target)
	require.NoError(t, err)
	require.True(t, filepath.IsAbs(whole.CA) && filepath.IsAbs(whole.Call.Certificate), "files are beside the target's")
	require.Equal(t, "true", whole.Revoke.Acknowledged.Where["done.0"])

	for _, c := range []struct{ old, new, err string }{
		{"name: mine", "nam: mine", "target.yaml:1:1"},
		{"ca: ca.crt\n", "", "ca: name the file"},
		{"method: POST", "method: ''", "call.method: is missing"},
		{"https://localhost:1/things", "http://localhost:1/things", "call.url"},
		{"{{.Number}}\n", "{{.Numbr}}\n", "call.template"},
		{"certificate: a.crt", "certificate: ''", "call.certificate"},
		{"denied: {status: [403]}", "denied: {status: [200]}", "call.denied.status: 200 is allowed too"},
		{"denied: {status: [403]}", "denied: {}", "call.denied.status: list"},
		{"denied: {status: [403]}", "denied: {status: [403]}\n  use: {start: s}", "call.use: needs both"},
		{"revoke: *change", "revoke: *change\neffects: {method: GET, url: 'https://h/', certificate: a, key: b}", "effects: name a value"},
		{"revoke: *change", "revoke: *change\neffects: {method: GET, url: 'https://h/', certificate: a, key: b, entries: e}", "effects.use"},
	} {
		_, err := load(strings.Replace(target, c.old, c.new, 1))
		require.ErrorIs(t, err, race.ErrTarget, c.new)
		require.ErrorContains(t, err, c.err)
	}
}

func TestTargetOfTheDemoIsRead(t *testing.T) {
	dir := t.TempDir()
	server, err := demo.Start(demo.Guarded, dir, "127.0.0.1:0")
	require.NoError(t, err)
	defer server.Close()
	path, err := server.WriteTarget()
	require.NoError(t, err)
	read, err := race.LoadTarget(path)
	require.NoError(t, err)
	require.Equal(t, server.Target(), read)
}
