package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// errResponseTooLong is what a handler gets that writes more than may be held back until
// its turn is over.
var errResponseTooLong = errors.New("the response is longer than its limit")

// buffered is the response of a handler that runs in a turn.
type buffered struct {
	header http.Header
	status int
	body   bytes.Buffer
	limit  int64
	err    error
}

// newBuffered starts from the headers that middleware outside has set.
func newBuffered(outer http.Header, limit int64) *buffered {
	return &buffered{header: outer.Clone(), limit: limit}
}

// Header implements [http.ResponseWriter].
func (b *buffered) Header() http.Header { return b.header }

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
	header := w.Header()
	clear(header)
	for name, values := range b.header {
		header[name] = values
	}
	b.WriteHeader(http.StatusOK)
	w.WriteHeader(b.status)
	_, _ = w.Write(b.body.Bytes()) // who does not read the answer needs none
	return nil
}

// withBody returns r with a body of its own over the bytes.
func withBody(r *http.Request, body []byte) *http.Request {
	copied := *r
	copied.Body = io.NopCloser(bytes.NewReader(body))
	copied.ContentLength = int64(len(body))
	return &copied
}
