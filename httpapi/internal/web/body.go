package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth bounds the nesting of objects and arrays in a body.
const maxDepth = 64

// KnownMembersOnly makes [ReadJSON] reject members that the Go type does not name.
var KnownMembersOnly = json.RejectUnknownMembers(true)

// LenientText replaces invalid UTF-8 in an answer.
var LenientText = jsontext.AllowInvalidUTF8(true)

// BodyError says where a body is malformed. It becomes a 400.
type BodyError struct {
	// Pointer is the JSON pointer of the value, empty for the whole body.
	Pointer string
	// Offset is in bytes; negative if it is unknown.
	Offset int64
	Detail string
}

// Error implements error.
func (e *BodyError) Error() string {
	where := "the body"
	if e.Pointer != "" {
		where = "the value at " + e.Pointer
	}
	if e.Offset >= 0 {
		return fmt.Sprintf("%s (byte %d) %s", where, e.Offset, e.Detail)
	}
	return where + " " + e.Detail
}

// MediaTypeError rejects the content type of a body. It becomes a 415.
type MediaTypeError struct{ Detail string }

// Error implements error.
func (e *MediaTypeError) Error() string { return e.Detail }

// ReadJSON reads the body of r, at most limit bytes, into the value that into points at. It
// accepts one JSON value of content type application/json, in valid UTF-8, without duplicate
// names, at most 64 levels deep. Names are case-sensitive. It ignores members that the Go type
// does not name, unless the options have [KnownMembersOnly].
//
// The error is a *MediaTypeError, a *http.MaxBytesError, a *BodyError, or one of reading.
func ReadJSON(w http.ResponseWriter, r *http.Request, limit int64, into any, opts ...json.Options) error {
	data, err := ReadJSONBody(w, r, limit)
	if err != nil {
		return err
	}
	return ParseJSON(data, into, opts...)
}

// ReadJSONBody is the part of [ReadJSON] that reads.
func ReadJSONBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if err := checkJSONType(r.Header); err != nil {
		return nil, err
	}
	return ReadBody(w, r, limit)
}

func checkJSONType(h http.Header) error {
	types := h.Values("Content-Type")
	if len(types) != 1 {
		return &MediaTypeError{"Send the body with one Content-Type, application/json."}
	}
	if media, _, err := mime.ParseMediaType(types[0]); err != nil || media != "application/json" {
		return &MediaTypeError{fmt.Sprintf("The Content-Type is %.80q; send application/json.", types[0])}
	}
	if h.Get("Content-Encoding") != "" {
		return &MediaTypeError{"Send the body without Content-Encoding."}
	}
	return nil
}

// MaxDrained bounds how much of an oversized body is read and discarded, in bytes. A client that
// is still sending may never see an answer that comes earlier.
const MaxDrained = 8 << 20

// ReadBody reads a body of at most limit bytes. It rejects a longer Content-Length without
// reading the body if the client sent Expect: 100-continue, and else discards most of it.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if err := RefuseAnnounced(r, limit); err != nil {
		return nil, err
	}
	var body bytes.Buffer
	if r.ContentLength > 0 {
		body.Grow(int(min(r.ContentLength, 64<<10)) + bytes.MinRead)
	}
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		if isA[*http.MaxBytesError](err) || errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
		return nil, &BodyError{Offset: int64(body.Len()), Detail: "ends early there"}
	}
	return body.Bytes(), nil
}

// RefuseAnnounced rejects a body whose Content-Length is over limit bytes.
func RefuseAnnounced(r *http.Request, limit int64) error {
	if r.ContentLength <= limit {
		return nil
	}
	if r.Header.Get("Expect") == "" { // else the client waits for permission to send
		_, _ = io.CopyN(io.Discard, r.Body, MaxDrained) // rejected in any case
	}
	return &http.MaxBytesError{Limit: limit}
}

// ParseJSON is the part of [ReadJSON] that parses. The error is a *BodyError.
func ParseJSON(data []byte, into any, opts ...json.Options) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return &BodyError{Offset: -1, Detail: "is empty; send one JSON value"}
	}
	if err := checkDepth(data); err != nil {
		return err
	}
	if err := json.Unmarshal(data, into, opts...); err != nil {
		return jsonFault(err)
	}
	return nil
}

// checkDepth decodes a body only if it has enough brackets to be too deep.
func checkDepth(data []byte) error {
	if bytes.Count(data, []byte{'{'})+bytes.Count(data, []byte{'['}) <= maxDepth {
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	for {
		if _, err := dec.ReadToken(); err == io.EOF {
			return nil
		} else if err != nil {
			return jsonFault(err)
		}
		if dec.StackDepth() > maxDepth {
			return &BodyError{
				Offset: dec.InputOffset(),
				Detail: fmt.Sprintf("nests objects and arrays more than %d levels deep", maxDepth),
			}
		}
	}
}

// TextError is the error of an UnmarshalText method that says what is wrong with the value.
type TextError string

// Error implements error.
func (e TextError) Error() string { return string(e) }

// jsonFault rewrites an error of the JSON library, without names of Go types.
func jsonFault(err error) error {
	var syntactic *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.As(err, &syntactic):
		return &BodyError{string(syntactic.JSONPointer), syntactic.ByteOffset, "is not JSON: " + syntactic.Err.Error()}
	case errors.As(err, &semantic) && isA[TextError](semantic.Err):
		return &BodyError{string(semantic.JSONPointer), semantic.ByteOffset, semantic.Err.Error()}
	case errors.As(err, &semantic) && errors.Is(semantic.Err, json.ErrUnknownName):
		return &BodyError{string(semantic.JSONPointer), semantic.ByteOffset, "has an unknown name"}
	case errors.As(err, &semantic):
		return &BodyError{string(semantic.JSONPointer), semantic.ByteOffset, "is " + kindName(semantic.JSONKind) + ", which is the wrong type here"}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &BodyError{Offset: -1, Detail: "is not JSON: it ends too early"}
	}
	return fmt.Errorf("reading JSON: %w", err)
}

func kindName(kind jsontext.Kind) string {
	switch kind {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "of an unknown type"
}
