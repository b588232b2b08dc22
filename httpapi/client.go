package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/go-json-experiment/json"
)

// Client calls the APIs of a server. It is safe for concurrent use.
type Client struct {
	// Base is the URL of the listener, such as "https://localhost:8444".
	Base string
	// HTTP brings the client certificate: see certs.ClientConfig.
	HTTP *http.Client
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 30

// Answer is a successful answer of the server.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Call sends one request. A body that is not a []byte is sent as JSON; headers may be nil.
// An answer of 400 and above is returned as a [*Problem].
func (c *Client) Call(ctx context.Context, method, path string, headers http.Header, body any) (*Answer, error) {
	text, media, err := encodeBody(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	for name, values := range headers {
		req.Header[name] = values
	}
	if media != "" && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", media)
	}
	return c.answer(req)
}

// Upload sends a PUT with a body that is long: it is read as it is sent. Its size is in
// bytes, -1 if it is not known. The answer is that of [Client.Call].
func (c *Client) Upload(ctx context.Context, path string, headers http.Header, body io.Reader, size int64) (*Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, c.Base+path, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	for name, values := range headers {
		req.Header[name] = values
	}
	return c.answer(req)
}

// answer reads the whole answer to a request.
func (c *Client) answer(req *http.Request) (*Answer, error) {
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("the answer broke off: %w", err)
	}
	if resp.StatusCode >= 400 {
		return nil, problemIn(resp, answer)
	}
	return &Answer{resp.StatusCode, resp.Header, answer}, nil
}

// Stream sends a GET and returns the answer with its body unread, for what is long or does
// not end; the caller closes the body. An answer of 400 and above is returned as a
// [*Problem].
func (c *Client) Stream(ctx context.Context, path string, headers http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Base+path, nil)
	if err != nil {
		return nil, err
	}
	for name, values := range headers {
		req.Header[name] = values
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("the answer broke off: %w", err)
	}
	return nil, problemIn(resp, answer)
}

func encodeBody(body any) (text []byte, media string, err error) {
	switch b := body.(type) {
	case nil:
		return nil, "", nil
	case []byte:
		return b, "", nil
	}
	text, err = json.Marshal(body)
	return text, "application/json", err
}

// problemIn reads a problem document, or makes one of an answer that is none.
func problemIn(resp *http.Response, body []byte) *Problem {
	p := &Problem{Type: "about:blank", Title: http.StatusText(resp.StatusCode), Status: resp.StatusCode}
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media != "application/problem+json" {
		return p
	}
	var doc struct {
		Type, Title, Detail, Instance string
		Members                       map[string]any `json:",embed"`
	}
	if err := json.Unmarshal(body, &doc, json.MatchCaseInsensitiveNames(true)); err != nil {
		return p
	}
	p.Type, p.Title, p.Detail, p.Instance, p.Members = doc.Type, doc.Title, doc.Detail, doc.Instance, doc.Members
	return p
}
