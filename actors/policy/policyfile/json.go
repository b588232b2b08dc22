package policyfile

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonReader reads JSON into nodes. Duplicate names are kept for the loader to refuse,
// with the place of the second.
type jsonReader struct {
	data   []byte
	dec    *jsontext.Decoder
	nodes  int
	offset int // up to which here was counted
	here   place
}

// readJSON reads one value of JSON. The error is a [*syntaxFault].
func readJSON(data []byte) (node, error) { return readJSONAt(data, place{1, 1}) }

// readJSONAt reads what begins at that place of a file.
func readJSONAt(data []byte, at place) (node, error) {
	r := &jsonReader{
		data: data, here: at,
		dec: jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowDuplicateNames(true)),
	}
	n, err := r.value()
	if err != nil {
		return node{}, err
	}
	end := r.next()
	if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return node{}, syntaxErrorf(end, "something stands after the end of the value")
	}
	return n, nil
}

// next returns the place of the next token.
func (r *jsonReader) next() place {
	to := int(r.dec.InputOffset())
	for to < len(r.data) && bytes.IndexByte([]byte(" \t\r\n,:"), r.data[to]) >= 0 {
		to++
	}
	return r.advance(to)
}

// advance counts lines and columns up to the offset.
func (r *jsonReader) advance(to int) place {
	for ; r.offset < to; r.offset++ {
		switch c := r.data[r.offset]; {
		case c == '\n':
			r.here = place{r.here.line + 1, 1}
		case utf8.RuneStart(c):
			r.here.column++
		}
	}
	return r.here
}

func (r *jsonReader) token() (jsontext.Token, place, error) {
	at := r.next()
	tok, err := r.dec.ReadToken()
	if err == nil {
		return tok, at, nil
	}
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		to := min(max(int(syntax.ByteOffset), r.offset), len(r.data))
		return tok, at, syntaxErrorf(r.advance(to), "%v", syntax.Err)
	}
	return tok, at, syntaxErrorf(at, "%v", err)
}

func (r *jsonReader) value() (node, error) {
	tok, at, err := r.token()
	if err != nil {
		return node{}, err
	}
	if r.nodes++; r.nodes > maxNodes {
		return node{}, tooLarge(at, "more than %d values", maxNodes)
	}
	if r.dec.StackDepth() > maxDepth {
		return node{}, tooLarge(at, "nested deeper than %d", maxDepth)
	}
	n := node{place: at}
	switch tok.Kind() {
	case '"':
		n.text = tok.String()
	case '{':
		n.kind = objectNode
		err = r.object(&n)
	case '[':
		n.kind = listNode
		err = r.list(&n)
	default:
		n.kind, n.text = otherNode, tok.String()
	}
	return n, err
}

func (r *jsonReader) list(n *node) error {
	for r.dec.PeekKind() != ']' {
		item, err := r.value()
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
	}
	_, _, err := r.token()
	return err
}

func (r *jsonReader) object(n *node) error {
	for r.dec.PeekKind() != '}' {
		name, at, err := r.token()
		if err != nil {
			return err
		}
		key := name.String()
		value, err := r.value()
		if err != nil {
			return err
		}
		n.fields = append(n.fields, member{name: key, place: at, value: value})
	}
	_, _, err := r.token()
	return err
}
