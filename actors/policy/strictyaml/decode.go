package strictyaml

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Decode reads a text into a struct over the values that it has. Fields are named by their
// yaml tags, with ",inline" for an embedded struct. Fields are structs, strings, booleans,
// whole numbers, durations, [encoding.TextUnmarshaler]s, and pointers, lists and maps by
// string of these. Unknown and duplicate keys and values of another type are errors. A key
// without a value keeps the value that the struct has.
//
// Every error is an [*Error]. A text that is not well formed has one; of all others Decode
// returns all together, by [errors.Join], in the order of lines. An empty text is
// [ErrEmpty].
func Decode(text []byte, into any) error { return (&decoder{}).decode(text, into) }

// DecodeWithAliases is [Decode] for files that may have anchors and aliases. It rejects merge
// keys too.
func DecodeWithAliases(text []byte, into any) error {
	return (&decoder{aliases: true}).decode(text, into)
}

type decoder struct {
	aliases bool
	errs    []*Error
}

func (d *decoder) decode(text []byte, into any) error {
	root, err := Parse(text)
	if err != nil {
		return err
	}
	d.value(root, "", reflect.ValueOf(into).Elem())
	slices.SortStableFunc(d.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errs := make([]error, len(d.errs))
	for i, e := range d.errs {
		errs[i] = e
	}
	return errors.Join(errs...)
}

func (d *decoder) fail(n *yaml.Node, path, format string, args ...any) {
	d.errs = append(d.errs, &Error{Line: n.Line, Column: n.Column, Field: path, Err: fmt.Errorf(format, args...)})
}

func (d *decoder) value(n *yaml.Node, path string, v reflect.Value) {
	if d.aliases && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if why := d.refused(n); why != "" {
		d.fail(n, path, "%w: %s", ErrSyntax, why)
		return
	}
	if n.Tag == "!!null" {
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	if _, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.scalar(n, path, v)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.mapping(n, path, func(key string) (reflect.Value, bool) { return fieldOf(v, key) }, nil)
	case reflect.Map:
		d.mapInto(n, path, v)
	case reflect.Slice:
		d.list(n, path, v)
	default:
		d.scalar(n, path, v)
	}
}

func (d *decoder) refused(n *yaml.Node) (why string) {
	if d.aliases && n.Anchor != "" {
		return ""
	}
	return Refused(n)
}

func (d *decoder) list(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, path, "must be a list")
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		d.value(item, fmt.Sprintf("%s[%d]", path, i), list.Index(i))
	}
	v.Set(list)
}

func (d *decoder) mapInto(n *yaml.Node, path string, v reflect.Value) {
	m := reflect.MakeMap(v.Type())
	d.mapping(n, path,
		func(string) (reflect.Value, bool) { return reflect.New(v.Type().Elem()).Elem(), true },
		func(key string, value reflect.Value) {
			m.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), value)
		})
	v.Set(m)
}

// mapping decodes each value into what slot returns for its key, and hands it to done.
func (d *decoder) mapping(n *yaml.Node, path string, slot func(key string) (reflect.Value, bool), done func(string, reflect.Value)) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "must have keys and values")
		return
	}
	seen := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		value, known := slot(key.Value)
		switch why := RefusedKey(key); {
		case why != "":
			d.fail(key, path, "%w: %s", ErrSyntax, why)
		case !known:
			d.fail(key, at, "unknown key")
		case seen[key.Value]:
			d.fail(key, at, "the key stands twice")
		default:
			seen[key.Value] = true
			d.value(n.Content[i+1], at, value)
			if done != nil {
				done(key.Value, value)
			}
		}
	}
}

// fieldOf returns the field of a struct that the key names.
func fieldOf(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		name, option, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		switch {
		case option == "inline":
			if f, ok := fieldOf(v.Field(i), key); ok {
				return f, true
			}
		case name == key && name != "":
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

var durationType = reflect.TypeFor[time.Duration]()

// scalar decodes a value without parts.
func (d *decoder) scalar(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, path, "must be a single value")
		return
	}
	text := n.Value
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(text)); err != nil {
			d.fail(n, path, "%q is not possible here: %w", text, err)
		}
		return
	}
	switch {
	case v.Type() == durationType:
		value, err := time.ParseDuration(text)
		if err != nil {
			d.fail(n, path, "must be a duration such as 90s, 5m or 1h")
		}
		v.SetInt(int64(value))
	case v.Kind() == reflect.String:
		if n.Tag == "!!bool" || n.Tag == "!!int" || n.Tag == "!!float" {
			d.fail(n, path, "must be text, and %s is not: put it in quotes", text)
		}
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		value, err := strconv.ParseBool(text)
		if err != nil || n.Tag != "!!bool" {
			d.fail(n, path, "must be true or false")
		}
		v.SetBool(value)
	case v.CanInt():
		value, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, v.Type().Bits())
		if err != nil || n.Tag != "!!int" {
			d.fail(n, path, "must be a whole number")
		}
		v.SetInt(value)
	default:
		panic("strictyaml: no values of type " + v.Type().String())
	}
}
