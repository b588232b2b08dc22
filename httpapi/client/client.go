package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// ErrBaseURL is wrapped by the error of [New] for a base URL that cannot be used.
var ErrBaseURL = errors.New("client: malformed base URL")

// DefaultTimeout bounds a call, unless [Options] say otherwise. A server waits for at most a
// minute until an update is quiesced.
const DefaultTimeout = 75 * time.Second

// Options of [New].
type Options struct {
	// BaseURL is the URL of the listener, such as "https://localhost:8444". Required.
	BaseURL string
	// TLS brings the client certificate and the server's trust anchors, for example from
	// certs.ClientConfig. The client uses HTTP/1.1 with it, which reports why a handshake
	// failed. Ignored if HTTPClient is set.
	TLS *tls.Config
	// HTTPClient replaces the client that New makes of TLS. Its Timeout should be 0: it would
	// end streams too.
	HTTPClient *http.Client
	// Timeout bounds a call with a short answer; 0 for [DefaultTimeout]. Only the context
	// bounds a stream: Follow, Verify, Backup, and a policy that is read or sent in lines.
	Timeout time.Duration
	// LeaseTTL is how long a remote lease lasts without contact to the server, in whole
	// milliseconds; 0 for [DefaultLeaseTTL].
	LeaseTTL time.Duration
	// Clock returns the time since an unspecified moment, for leases; nil for a clock that counts
	// the time in which the machine is suspended. Tests can set it.
	Clock func() time.Duration
}

// Client calls one listener of a server. It is safe for concurrent use.
type Client struct {
	base    string
	http    *http.Client
	timeout time.Duration
	leases  *holder
}

// maxConnections bounds the connections of a client. Further requests wait for one.
const maxConnections = 64

// New makes a client. It opens no connection. The error wraps [ErrBaseURL].
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("%w: %q; use one such as https://localhost:8444", ErrBaseURL, o.BaseURL)
	}
	c := &Client{base: strings.TrimRight(base.String(), "/"), http: o.HTTPClient, timeout: cmp.Or(o.Timeout, DefaultTimeout)}
	if c.http == nil {
		c.http = &http.Client{Transport: &http.Transport{TLSClientConfig: o.TLS, MaxIdleConnsPerHost: maxConnections, MaxConnsPerHost: maxConnections}}
	}
	c.leases = newHolder(c, &o)
	return c, nil
}

// maxAnswer bounds an answer that is read into memory.
const maxAnswer = 1 << 30

// call is one request.
type call struct {
	method, path string
	query        url.Values
	header       http.Header
	// body is nil, an io.Reader, or a value that is sent as JSON.
	body any
	// size is the length of an io.Reader in bytes, -1 if it is unknown.
	size int64
}

func (k *call) request(ctx context.Context, base string) (*http.Request, error) {
	var body io.Reader
	size, media := k.size, ""
	switch b := k.body.(type) {
	case nil:
	case io.Reader:
		body = b
	default:
		text, err := json.Marshal(b, json.Deterministic(true))
		if err != nil {
			return nil, err
		}
		body, size, media = bytes.NewReader(text), int64(len(text)), "application/json"
	}
	target := base + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.ContentLength = size
	}
	for name, values := range k.header {
		req.Header[name] = values
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	return req, nil
}

// open sends a request and returns the answer with its body unread. The caller closes the body.
func (c *Client) open(ctx context.Context, k call) (*http.Response, error) {
	req, err := k.request(ctx, c.base)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := readAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return nil, problemIn(resp, text)
}

// long sends a request whose answer may take any time, and reads its JSON into a value.
func (c *Client) long(ctx context.Context, k call, into any) (http.Header, error) {
	resp, err := c.open(ctx, k)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := readAll(resp.Body)
	if err != nil || into == nil {
		return resp.Header, err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return nil, fmt.Errorf("decode the answer of %s %s: %w", k.method, k.path, err)
	}
	return resp.Header, nil
}

// short is long with the client's timeout.
func (c *Client) short(ctx context.Context, k call, into any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.long(ctx, k, into)
}

func readAll(body io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return text, nil
}
