package strictyaml_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy/strictyaml"
)

type inner struct {
	Count int           `yaml:"count"`
	Age   time.Duration `yaml:"age"`
}

type settings struct {
	Listen string  `yaml:"listen"`
	Data   *string `yaml:"data"`
	Keep   inner   `yaml:"keep"`
	Embed  `yaml:",inline"`
	List   []inner           `yaml:"list"`
	Names  map[string]string `yaml:"names"`
	Level  slog.Level        `yaml:"level"`
}

// Embed is an inlined struct.
type Embed struct {
	On bool `yaml:"on"`
}

func TestDecodeReadsOverDefaults(t *testing.T) {
	s := settings{Listen: "default", Keep: inner{Count: 7, Age: time.Hour}}
	err := strictyaml.Decode([]byte("data: ''\nkeep: {age: 5m}\n\"on\": true\nlist:\n- count: 1_000\nnames: {a: b}\nlevel: warn\nlisten:\n"), &s)
	require.NoError(t, err)
	empty := ""
	require.Equal(t, settings{
		Listen: "default", Data: &empty, Keep: inner{Count: 7, Age: 5 * time.Minute}, Embed: Embed{On: true},
		List: []inner{{Count: 1000}}, Names: map[string]string{"a": "b"}, Level: slog.LevelWarn,
	}, s)
	require.ErrorIs(t, strictyaml.Decode([]byte("# nothing\n"), &s), strictyaml.ErrEmpty)
}

func TestDecodeReportsAllErrorsWithTheirPlace(t *testing.T) {
	var s settings
	err := strictyaml.Decode([]byte(`listen: 12
keep:
  count: many
  count: 1
  age: [1h]
  cuont: 1
list: {a: 1}
on: maybe
names: &n {a: 1}
level: loud
data: [1]
1: x
<<: {}
`), &s)
	require.Error(t, err)
	require.Equal(t, strings.TrimSpace(`
1:9: listen: must be text, and 12 is not: put it in quotes
3:10: keep.count: must be a whole number
4:3: keep.count: the key stands twice
5:8: keep.age: must be a single value
6:3: keep.cuont: unknown key
7:7: list: must be a list
8:5: on: must be true or false
9:8: names: syntax error: anchors, aliases and merge keys are refused; put a text that begins with * or & in quotes
10:8: level: "loud" is not possible here: slog: level string "loud": unknown name
11:7: data: must be a single value
12:1: syntax error: the key "1" is not a string: put it in quotes
13:1: syntax error: anchors, aliases and merge keys are refused; put a text that begins with * or & in quotes
`), err.Error())
}

func TestDecodeWithAliases(t *testing.T) {
	const text = "keep: &k {count: 3}\nlist: [*k, {count: 4}]\n"
	var s settings
	require.NoError(t, strictyaml.DecodeWithAliases([]byte(text), &s))
	require.Equal(t, []inner{{Count: 3}, {Count: 4}}, s.List)
	require.ErrorIs(t, strictyaml.Decode([]byte(text), &s), strictyaml.ErrSyntax)
	require.ErrorIs(t, strictyaml.DecodeWithAliases([]byte("keep: {<<: {count: 3}}"), &s), strictyaml.ErrSyntax)
	require.Error(t, strictyaml.DecodeWithAliases([]byte("list: &l [*l]"), &s), "an alias of the list in itself ends")
}

func TestParseRejects(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1\n---\nb: 2\n":      "2:1: syntax error: a file has one document",
		"%YAML 1.2\n---\na: 1\n": "1:1: syntax error: directives are refused",
		"a:\n\tb: 1\n":           "2:1: syntax error: a tab in the indentation: use spaces",
		"a: x\nb: *nowhere\n":    "2:4: " + "syntax error: anchors, aliases and merge keys are refused; put a text that begins with * or & in quotes",
		strings.Repeat("[", 200) + strings.Repeat("]", 200): "1:101: too large: nested deeper than 100",
		strings.Repeat("[", 20_000):                         "1:1: too large: nested deeper than 100",
	} {
		_, err := strictyaml.Parse([]byte(text))
		require.EqualError(t, err, want)
	}
}
