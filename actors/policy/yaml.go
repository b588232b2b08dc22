package policy

import (
	"bytes"
	"errors"
	"io"

	"github.com/goccy/go-yaml/scanner"
	"github.com/goccy/go-yaml/token"
)

// yamlReader reads the part of YAML that a policy needs: block and flow collections,
// all forms of strings, comments. Anchors, aliases, merge keys, tags, directives, keys
// that are no strings and second documents are refused. The tokens are goccy/go-yaml's;
// its parser is not used, for it has no bound on depth and takes kilobytes for a token.
type yamlReader struct {
	tokens []*token.Token
	pos    int
	depth  int
}

// readYAML reads one document. The error is a [*syntaxFault].
func readYAML(data []byte) (node, error) {
	if err := checkYAMLBytes(data); err != nil {
		return node{}, err
	}
	r := &yamlReader{}
	if err := r.scan(string(bytes.TrimPrefix(data, []byte("\ufeff")))); err != nil {
		return node{}, err
	}
	if t := r.peek(); t != nil && t.Type == token.DocumentHeaderType {
		r.pos++
	}
	if t := r.peek(); t == nil || t.Type == token.DocumentEndType {
		return node{}, syntaxErrorf(place{1, 1}, "the file is empty; write {} for a policy without roles and grants")
	}
	n, err := r.block(0, false)
	if t := r.peek(); err == nil && t != nil && t.Type == token.DocumentEndType {
		r.pos++
	}
	if t := r.peek(); err == nil && t != nil {
		err = unexpected(t)
	}
	if fault, ok := err.(*syntaxFault); ok && fault.line == 0 { // at the end
		fault.place = placeOf(r.tokens[len(r.tokens)-1])
	}
	return n, err
}

// maxBlank is how many ends of lines may follow one another.
const maxBlank = 200

// checkYAMLBytes refuses what would cost the scanner memory or time out of proportion:
// too much of what makes tokens, and tabs and long runs of empty lines, whose cost within
// a string grows by the square.
func checkYAMLBytes(data []byte) error {
	marks, blank, here := 0, 0, place{1, 0}
	for i, c := range data {
		here.column++
		switch c {
		case '[', ']', '{', '}', ',', '"', '\'':
			marks++
		case '-', ':', '?':
			if i+1 < len(data) && (data[i+1] == ' ' || data[i+1] == '\n') {
				marks++
			}
		case '\t':
			return syntaxErrorf(here, "tabs are refused: indent with spaces, and write \\t in a string in quotes")
		case '\n':
			here = place{here.line + 1, 0}
		}
		switch c {
		case '\n', '\r':
			blank++
		case ' ':
		default:
			blank = 0
		}
		if blank > maxBlank {
			return tooLarge(here, "more than %d empty lines in a row", maxBlank)
		}
	}
	if marks > maxNodes {
		return tooLarge(place{1, 1}, "more than %d values", maxNodes)
	}
	return nil
}

// scan reads all tokens but comments.
func (r *yamlReader) scan(text string) error {
	var s scanner.Scanner
	s.Init(text)
	for {
		tokens, err := s.Scan()
		if errors.Is(err, io.EOF) {
			return nil
		}
		for _, t := range tokens {
			if t.Type == token.InvalidType {
				return syntaxErrorf(placeOf(t), "%s", t.Error)
			}
			if t.Type != token.CommentType {
				r.tokens = append(r.tokens, t)
			}
		}
		if err != nil {
			return syntaxErrorf(place{1, 1}, "%v", err)
		}
	}
}

func (r *yamlReader) peek() *token.Token { return r.ahead(0) }

func (r *yamlReader) ahead(n int) *token.Token {
	if r.pos+n < len(r.tokens) {
		return r.tokens[r.pos+n]
	}
	return nil
}

func placeOf(t *token.Token) place { return place{int32(t.Position.Line), int32(t.Position.Column)} }

// enter counts one level down; leave it with r.depth--.
func (r *yamlReader) enter(t *token.Token) error {
	if r.depth++; r.depth > maxDepth {
		return tooLarge(placeOf(t), "nested deeper than %d", maxDepth)
	}
	return nil
}

// block reads a value that begins at the next token, to the right of column above. One
// that stands behind its key on the same line can be no block collection.
func (r *yamlReader) block(above int, behindKey bool) (node, error) {
	t := r.peek()
	if t == nil || t.Position.Column <= above {
		return node{}, unexpected(t)
	}
	if err := r.enter(t); err != nil {
		return node{}, err
	}
	defer func() { r.depth-- }()
	switch {
	case !behindKey && t.Type == token.SequenceEntryType:
		return r.blockList(t)
	case !behindKey && r.atKey():
		return r.blockObject(t)
	default:
		return r.inline()
	}
}

// atKey reports whether a key and its colon come next.
func (r *yamlReader) atKey() bool {
	key, colon := r.peek(), r.ahead(1)
	return key != nil && colon != nil && isScalar(key) && colon.Type == token.MappingValueType &&
		colon.Position.Line == key.Position.Line
}

func (r *yamlReader) blockList(first *token.Token) (node, error) {
	n := node{kind: listNode, place: placeOf(first)}
	column := first.Position.Column
	for {
		t := r.peek()
		if t == nil || t.Position.Column < column || t.Type != token.SequenceEntryType {
			return n, nil
		}
		if t.Position.Column > column {
			return node{}, unexpected(t)
		}
		r.pos++
		item, err := r.after(t, column, false)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, item)
	}
}

func (r *yamlReader) blockObject(first *token.Token) (node, error) {
	n := node{kind: objectNode, place: placeOf(first)}
	column := first.Position.Column
	for {
		t := r.peek()
		if t == nil || t.Position.Column < column || isDocument(t) {
			return n, nil
		}
		continues := len(n.fields) > 0 && r.ahead(-1).Position.Line == t.Position.Line
		if t.Position.Column > column || continues || !r.atKey() {
			return node{}, unexpected(t)
		}
		m, err := r.key()
		if err != nil {
			return node{}, err
		}
		colon := r.ahead(-1)
		if m.value, err = r.after(colon, column, true); err != nil {
			return node{}, err
		}
		n.fields = append(n.fields, m)
	}
}

// after reads the value behind a dash or a colon of the collection at that column, or
// nothing, if nothing is there.
func (r *yamlReader) after(mark *token.Token, column int, key bool) (node, error) {
	t := r.peek()
	switch {
	case t == nil || isDocument(t):
		return node{kind: otherNode, place: placeOf(mark)}, nil
	case t.Position.Line == mark.Position.Line:
		return r.block(0, key)
	case t.Position.Column > column:
		return r.block(column, false)
	case key && t.Position.Column == column && t.Type == token.SequenceEntryType:
		return r.block(column-1, false)
	default:
		return node{kind: otherNode, place: placeOf(mark)}, nil
	}
}

// key reads a key and its colon.
func (r *yamlReader) key() (member, error) {
	t := r.peek()
	n, err := r.inline()
	if err != nil {
		return member{}, err
	}
	if n.kind != textNode {
		return member{}, syntaxErrorf(n.place, "the key %s is no string: put it in quotes", n.describe())
	}
	colon := r.peek()
	if colon == nil || colon.Type != token.MappingValueType || colon.Position.Line != t.Position.Line {
		return member{}, unexpected(colon)
	}
	r.pos++
	return member{name: n.text, place: n.place}, nil
}

// inline reads a string or another scalar, or a flow collection.
func (r *yamlReader) inline() (node, error) {
	t := r.peek()
	if t == nil {
		return node{}, unexpected(nil)
	}
	n := node{place: placeOf(t)}
	switch t.Type {
	case token.StringType, token.SingleQuoteType, token.DoubleQuoteType:
		n.text = t.Value
	case token.LiteralType, token.FoldedType:
		content := r.ahead(1)
		if content == nil || content.Type != token.StringType {
			return node{}, unexpected(content)
		}
		r.pos++
		n.text = content.Value
	case token.SequenceStartType:
		return r.flowList(t)
	case token.MappingStartType:
		return r.flowObject(t)
	default:
		if !isScalar(t) {
			return node{}, unexpected(t)
		}
		n.kind, n.text = otherNode, t.Value
	}
	r.pos++
	return n, nil
}

func isScalar(t *token.Token) bool {
	switch t.Type {
	case token.StringType, token.SingleQuoteType, token.DoubleQuoteType, token.NullType, token.BoolType,
		token.InfinityType, token.NanType, token.IntegerType, token.BinaryIntegerType,
		token.OctetIntegerType, token.HexIntegerType, token.FloatType:
		return true
	}
	return false
}

func isDocument(t *token.Token) bool {
	return t.Type == token.DocumentHeaderType || t.Type == token.DocumentEndType
}

func (r *yamlReader) flowList(open *token.Token) (node, error) {
	n := node{kind: listNode, place: placeOf(open)}
	err := r.flow(open, token.SequenceEndType, func() error {
		item, err := r.inline()
		n.items = append(n.items, item)
		return err
	})
	return n, err
}

func (r *yamlReader) flowObject(open *token.Token) (node, error) {
	n := node{kind: objectNode, place: placeOf(open)}
	err := r.flow(open, token.MappingEndType, func() error {
		m, err := r.key()
		if err != nil {
			return err
		}
		m.value, err = r.inline()
		n.fields = append(n.fields, m)
		return err
	})
	return n, err
}

// flow reads elements with commas between, and one after the last if it likes, up to the
// token that closes.
func (r *yamlReader) flow(open *token.Token, end token.Type, element func() error) error {
	if err := r.enter(open); err != nil {
		return err
	}
	defer func() { r.depth-- }()
	r.pos++
	for {
		t := r.peek()
		if t != nil && t.Type == end {
			r.pos++
			return nil
		}
		if err := element(); err != nil {
			return err
		}
		switch t := r.peek(); {
		case t != nil && t.Type == token.CollectEntryType:
			r.pos++
		case t == nil || t.Type != end:
			return unexpected(t)
		}
	}
}

// unexpected says why the token may not stand where it does.
func unexpected(t *token.Token) error {
	if t == nil {
		return syntaxErrorf(place{}, "the file ends too early")
	}
	at := placeOf(t)
	switch t.Type {
	case token.AliasType, token.AnchorType, token.MergeKeyType:
		return syntaxErrorf(at, "anchors, aliases and merge keys are refused; a pattern that begins with * has to stand in quotes")
	case token.TagType, token.DirectiveType, token.MappingKeyType:
		return syntaxErrorf(at, "tags, directives and explicit keys are refused")
	case token.DocumentHeaderType:
		return syntaxErrorf(at, "a policy file is one document")
	}
	return syntaxErrorf(at, "%q is not expected here; look at quotes and indentation", t.Value)
}
