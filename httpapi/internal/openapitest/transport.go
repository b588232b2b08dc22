package openapitest

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync"
	"testing"
)

// Transport checks each exchange of another transport against documents. It reports an error to
// the test for an undocumented answer, and for a request that succeeded and does not fit.
type Transport struct {
	*http.Transport
	apis []*API
	t    testing.TB

	mu   sync.Mutex
	over bool // the test
}

// NewTransport makes a transport for one test.
func NewTransport(t testing.TB, base *http.Transport, apis ...*API) *Transport {
	c := &Transport{Transport: base, apis: apis, t: t}
	t.Cleanup(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.over = true
	})
	return c
}

// maxChecked bounds a body that is checked, in bytes. Of a longer one, lines and events are checked.
const maxChecked = 4 << 20

// RoundTrip implements [http.RoundTripper].
func (c *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.Transport.RoundTrip(r)
	if err != nil {
		return resp, err
	}
	api, op := c.find(r)
	body := &checkedBody{ReadCloser: resp.Body}
	if op == nil {
		body.check = func(text []byte, _ bool) error { return api.checkUndocumented(resp.StatusCode, text) }
	} else {
		if resp.StatusCode < http.StatusBadRequest {
			c.report(r, op.checkRequest(r, bodyOf(r)))
		}
		has, err := op.checkHead(resp)
		c.report(r, err)
		media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		body.check = func(text []byte, whole bool) error {
			if has == nil || !whole && has.line == nil && has.events == nil || r.Method == http.MethodHead {
				return nil
			}
			if err := has.checkText(media, text); err != nil {
				return fmt.Errorf("the body of the answer %d: %w", resp.StatusCode, err)
			}
			return nil
		}
	}
	body.report = func(err error) { c.report(r, err) }
	resp.Body = body
	return resp, nil
}

// find returns the operation of a request and its document, or any document if there is none.
func (c *Transport) find(r *http.Request) (*API, *Operation) {
	for _, api := range c.apis {
		if op := api.find(r.Method, r.URL.EscapedPath()); op != nil {
			return api, op
		}
	}
	return c.apis[0], nil
}

// report reports an error while the test runs.
func (c *Transport) report(r *http.Request, err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.t.Errorf("the API is not as documented: %s %s: %v", r.Method, r.URL.RequestURI(), err)
	}
}

// bodyOf returns the body of a request that can be read again, nil of another one.
func bodyOf(r *http.Request) []byte {
	if r.GetBody == nil {
		return nil
	}
	again, err := r.GetBody()
	if err != nil {
		return nil
	}
	defer again.Close()
	text, err := io.ReadAll(io.LimitReader(again, maxChecked+1))
	if err != nil || len(text) > maxChecked {
		return nil
	}
	return text
}

// checkedBody checks an answer when its body has been read, or is closed.
type checkedBody struct {
	io.ReadCloser
	check  func(text []byte, whole bool) error
	report func(error)

	mu   sync.Mutex // a body may be closed while it is read
	text bytes.Buffer
	long bool
	done bool
}

// Read implements [io.Reader].
func (b *checkedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	b.long = b.long || b.text.Len()+n > maxChecked
	if !b.long && !b.done { // what follows a part that was left out does not continue the text
		b.text.Write(p[:n])
	}
	b.mu.Unlock()
	if err == io.EOF {
		b.finish(true)
	}
	return n, err
}

// Close implements [io.Closer].
func (b *checkedBody) Close() error {
	b.finish(false)
	return b.ReadCloser.Close()
}

func (b *checkedBody) finish(whole bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.done {
		b.done = true
		b.report(b.check(b.text.Bytes(), whole && !b.long))
	}
}
