package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
)

// errResponseTooLong is what a handler gets that writes more than may be held back until
// its turn is over.
var errResponseTooLong = errors.New("the response is longer than its limit")

// buffered is the response of a handler that runs in a turn.
type buffered struct {
	outer  http.Header // as middleware outside has set them
	header http.Header // those of the handler, once it has asked for them
	status int
	body   bytes.Buffer
	limit  int64
	err    error
}

// newBuffered starts from the headers that middleware outside has set.
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
	_, _ = w.Write(b.body.Bytes()) // who does not read the answer needs none
	return nil
}

// withBody returns r with a body of its own over the bytes.
func withBody(r *http.Request, body []byte) *http.Request {
	copied := *r
	setBody(&copied, body)
	return &copied
}

// setBody gives a request that nobody else has a body over the bytes.
func setBody(r *http.Request, body []byte) {
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
}

// wholeBody reads at most limit bytes, and returns nil if there is nothing to read. What is
// said of its length is not relied on: over HTTP/2 a body of length 0 can be open still.
func wholeBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength == 0 {
		var first [1]byte
		if _, err := io.ReadFull(r.Body, first[:]); err == io.EOF {
			return nil, nil
		} else if err == nil {
			r = r.WithContext(r.Context()) // what the server has of it stays as it is
			r.Body = prefixed{io.MultiReader(bytes.NewReader(first[:]), r.Body), r.Body}
		}
	}
	return readBody(w, r, limit)
}

// prefixed is a body of which something was read already.
type prefixed struct {
	io.Reader
	io.Closer
}
