package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"

	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// errResponseTooLong is the error of writing more than Execute mode holds.
var errResponseTooLong = errors.New("the response is longer than its limit")

// buffered is the response of a handler that runs in a turn.
type buffered struct {
	outer  http.Header // set by outer middleware
	header http.Header // of the handler; nil until it asks
	status int
	body   bytes.Buffer
	limit  int64
	err    error
}

// newBuffered begins with the headers that outer middleware has set.
func newBuffered(outer http.Header, limit int64) *buffered {
	return &buffered{outer: outer, limit: limit}
}

// Header implements [http.ResponseWriter].
func (b *buffered) Header() http.Header {
	if b.header == nil {
		b.header = b.outer.Clone()
	}
	return b.header
}

// WriteHeader implements [http.ResponseWriter]. There are no informational responses.
func (b *buffered) WriteHeader(status int) {
	if b.status == 0 && status >= 200 {
		b.status = status
	}
}

// Write implements [http.ResponseWriter].
func (b *buffered) Write(data []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	if int64(b.body.Len()+len(data)) > b.limit {
		b.err = fmt.Errorf("%w of %d bytes", errResponseTooLong, b.limit)
		return 0, b.err
	}
	return b.body.Write(data)
}

// send sends the response, if it was not too long.
func (b *buffered) send(w http.ResponseWriter) error {
	if b.err != nil {
		return b.err
	}
	if b.header != nil {
		clear(b.outer)
		maps.Copy(b.outer, b.header)
	}
	b.WriteHeader(http.StatusOK)
	w.WriteHeader(b.status)
	_, _ = w.Write(b.body.Bytes()) // the client may be gone
	return nil
}

// withBody returns a copy of r with the bytes as its body.
func withBody(r *http.Request, body []byte) *http.Request {
	copied := *r
	setBody(&copied, body)
	return &copied
}

// setBody sets the body of a request that is not shared.
func setBody(r *http.Request, body []byte) {
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
}

// wholeBody reads at most limit bytes, and returns nil if there is nothing to read. It does not
// rely on the Content-Length: with HTTP/2 a body of length 0 can still be open.
func wholeBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength == 0 {
		var first [1]byte
		if _, err := io.ReadFull(r.Body, first[:]); err == io.EOF {
			return nil, nil
		} else if err == nil {
			r = r.WithContext(r.Context()) // leaves the server's request unchanged
			r.Body = prefixed{io.MultiReader(bytes.NewReader(first[:]), r.Body), r.Body}
		}
	}
	return web.ReadBody(w, r, limit)
}

// prefixed is a body whose beginning was read.
type prefixed struct {
	io.Reader
	io.Closer
}
