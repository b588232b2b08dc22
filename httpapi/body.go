package httpapi

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

// maxDepth is how many objects and arrays may lie inside each other in a body.
const maxDepth = 64

// knownMembersOnly makes [readJSON] refuse members that the Go type does not name.
var knownMembersOnly = json.RejectUnknownMembers(true)

// lenientText lets text from outside into an answer: invalid UTF-8 is replaced.
var lenientText = jsontext.AllowInvalidUTF8(true)

// bodyError says where a body is not what it has to be. It becomes a 400.
type bodyError struct {
	// Pointer is the JSON pointer of the value, empty for the whole body.
	Pointer string
	// Offset is in bytes; negative if it is not known.
	Offset int64
	Detail string
}

func (e *bodyError) Error() string {
	where := "the body"
	if e.Pointer != "" {
		where = "the value at " + e.Pointer
	}
	if e.Offset >= 0 {
		return fmt.Sprintf("%s (byte %d) %s", where, e.Offset, e.Detail)
	}
	return where + " " + e.Detail
}

// mediaTypeError refuses a body of another type than JSON. It becomes a 415.
type mediaTypeError struct{ Detail string }

func (e *mediaTypeError) Error() string { return e.Detail }

// readJSON reads the body of r, of limit bytes at most, into the value that into points
// at. It takes one JSON value of content type application/json, in valid UTF-8, without
// duplicate names, nested no deeper than [maxDepth]; names count in their exact case.
// Members that the Go type does not name are ignored unless the options say
// [knownMembersOnly].
//
// The errors are *mediaTypeError, *http.MaxBytesError, *bodyError, or those of reading.
func readJSON(w http.ResponseWriter, r *http.Request, limit int64, into any, opts ...json.Options) error {
	if err := checkJSONType(r.Header); err != nil {
		return err
	}
	data, err := readBody(w, r, limit)
	if err != nil {
		return err
	}
	return parseJSON(data, into, opts...)
}

func checkJSONType(h http.Header) error {
	types := h.Values("Content-Type")
	if len(types) != 1 {
		return &mediaTypeError{"Send the body with one Content-Type, application/json."}
	}
	if media, _, err := mime.ParseMediaType(types[0]); err != nil || media != "application/json" {
		return &mediaTypeError{fmt.Sprintf("The Content-Type is %.80q; send application/json.", types[0])}
	}
	if h.Get("Content-Encoding") != "" {
		return &mediaTypeError{"Send the body without Content-Encoding."}
	}
	return nil
}

// mostDrained is how much of a body that is too large is read all the same: a client that
// is still sending when the answer comes may never see it.
const mostDrained = 8 << 20

// readBody reads at most limit bytes. One that announces more is refused: unread if the
// client asked first (Expect: 100-continue), else most of it is thrown away.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if err := refuseAnnounced(r, limit); err != nil {
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
		return nil, &bodyError{Offset: int64(body.Len()), Detail: "breaks off there"}
	}
	return body.Bytes(), nil
}

// refuseAnnounced refuses a body that announces more than limit bytes.
func refuseAnnounced(r *http.Request, limit int64) error {
	if r.ContentLength <= limit {
		return nil
	}
	if r.Header.Get("Expect") == "" { // else the client waits to hear before it sends
		_, _ = io.CopyN(io.Discard, r.Body, mostDrained) // whatever comes of it, it is refused
	}
	return &http.MaxBytesError{Limit: limit}
}

// parseJSON is the part of [readJSON] that knows no HTTP.
func parseJSON(data []byte, into any, opts ...json.Options) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return &bodyError{Offset: -1, Detail: "is empty; send one JSON value"}
	}
	if err := checkDepth(data); err != nil {
		return err
	}
	if err := json.Unmarshal(data, into, opts...); err != nil {
		return jsonFault(err)
	}
	return nil
}

// checkDepth looks closer only at a body with enough brackets to be too deep.
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
			return &bodyError{
				Offset: dec.InputOffset(),
				Detail: fmt.Sprintf("has more than %d objects and arrays inside each other", maxDepth),
			}
		}
	}
}

// jsonFault puts an error of the JSON library into our words, without names of Go types.
func jsonFault(err error) error {
	var syntactic *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.As(err, &syntactic):
		return &bodyError{string(syntactic.JSONPointer), syntactic.ByteOffset, "is no JSON: " + syntactic.Err.Error()}
	case errors.As(err, &semantic) && errors.Is(semantic.Err, json.ErrUnknownName):
		return &bodyError{string(semantic.JSONPointer), semantic.ByteOffset, "has a name that is not known here"}
	case errors.As(err, &semantic):
		return &bodyError{string(semantic.JSONPointer), semantic.ByteOffset, "is " + kindName(semantic.JSONKind) + ", which does not fit here"}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &bodyError{Offset: -1, Detail: "is no JSON: it ends too early"}
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
		return "a truth value"
	case 'n':
		return "null"
	}
	return "something"
}
