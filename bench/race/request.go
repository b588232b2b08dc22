package race

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/interlock-authz/interlock/certs"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 20

// values are what templates are filled with.
type values struct {
	Number int
	Run    string
	Seen   int
	Found  any // of [Found], for [Target.Restore]
}

// client sends one of the target's requests, over one connection at a time. It is not
// safe for concurrent use.
type client struct {
	http      *http.Client
	transport *http.Transport
	request   *Request
	templates *templates
	// once keeps the transport from sending a request again, on a connection that breaks
	// before the answer.
	once bool
}

// sendOnce makes a client that never sends a request again: a change that comes twice could
// undo the next one.
func (c *client) sendOnce() {
	c.once = true
	c.transport.DisableKeepAlives = true
}

// templates are the compiled texts of a request.
type templates struct {
	url, body *template.Template
	headers   map[string]*template.Template
}

func (r *Request) compile() (*templates, error) {
	t := &templates{headers: map[string]*template.Template{}}
	var errs []error
	parse := func(name, text string) *template.Template {
		parsed, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{"json": asJSON}).Parse(text)
		if err == nil {
			err = parsed.Execute(io.Discard, values{})
		}
		errs = append(errs, err)
		return parsed
	}
	t.url, t.body = parse("url", r.URL), parse("body", r.Body)
	for name, text := range r.Headers {
		t.headers[name] = parse(name, text)
	}
	return t, errors.Join(errs...)
}

// asJSON writes a value as JSON, in a template.
func asJSON(v any) (string, error) {
	text, err := json.Marshal(v)
	return string(text), err
}

// newClient makes a client with a connection of its own.
func (t *Target) newClient(r *Request) (*client, error) {
	config, err := certs.ClientConfig(certs.ClientOptions{
		CAFile: t.CA, CertFile: r.Certificate, KeyFile: r.Key, ServerName: t.ServerName,
	})
	if err != nil {
		return nil, err
	}
	compiled, err := r.compile()
	if err != nil {
		return nil, err
	}
	config.MinVersion = tls.VersionTLS12 // the target decides
	transport := &http.Transport{TLSClientConfig: config, MaxConnsPerHost: 1, ForceAttemptHTTP2: t.HTTP2}
	if !t.HTTP2 {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	return &client{
		transport: transport, request: r, templates: compiled,
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// build fills the templates.
func (c *client) build(ctx context.Context, v values, body io.Reader) (*http.Request, error) {
	address, err := fill(c.templates.url, v)
	if err != nil {
		return nil, err
	}
	if body == nil {
		text, err := fill(c.templates.body, v)
		if err != nil {
			return nil, err
		}
		body = strings.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, c.request.Method, address, body)
	if err != nil {
		return nil, err
	}
	for name, t := range c.templates.headers {
		text, err := fill(t, v)
		if err != nil {
			return nil, err
		}
		req.Header.Set(name, text)
	}
	return req, nil
}

func fill(t *template.Template, v values) (string, error) {
	var out strings.Builder
	err := t.Execute(&out, v)
	return out.String(), err
}

// reply is an answer that was read whole, and when.
type reply struct {
	start, end int64
	status     int
	body       []byte
}

// patience bounds one request.
const patience = 30 * time.Second

// send sends the request and reads its answer.
func (c *client) send(ctx context.Context, v values) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := c.build(ctx, v, nil)
	if err != nil {
		return reply{}, err
	}
	if c.once {
		req.GetBody = nil
	}
	a := reply{start: Now()}
	resp, err := c.http.Do(req)
	if err == nil {
		a.status = resp.StatusCode
		a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		err = errors.Join(err, resp.Body.Close())
	}
	a.end = Now()
	return a, err
}

// String is for error messages.
func (a reply) String() string {
	body := bytes.TrimSpace(a.body)
	return fmt.Sprintf("status %d, %q", a.status, body[:min(len(body), 300)])
}

// document is the answer's JSON.
func (a reply) document() (any, error) {
	var v any
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.UseNumber() // a reading of the clock has more digits than a float64
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("the answer is no JSON: %w", err)
	}
	return v, nil
}

// at follows a path of names and indexes.
func at(v any, path string) (any, error) {
	for step := range strings.SplitSeq(path, ".") {
		switch parent := v.(type) {
		case map[string]any:
			child, ok := parent[step]
			if !ok {
				return nil, fmt.Errorf("the answer has no %q of path %q", step, path)
			}
			v = child
		case []any:
			n, err := strconv.Atoi(step)
			if err != nil || n < 0 || n >= len(parent) {
				return nil, fmt.Errorf("the answer's list has no %q of path %q", step, path)
			}
			v = parent[n]
		default:
			return nil, fmt.Errorf("the answer has nothing below %v for %q of path %q", v, step, path)
		}
	}
	return v, nil
}

// matches reports whether an answer has one of the statuses and all the values of a.
func (a Answer) matches(r reply) bool {
	if !slices.Contains(a.Status, r.status) {
		return false
	}
	if len(a.Where) == 0 {
		return true
	}
	doc, err := r.document()
	if err != nil {
		return false
	}
	for path, want := range a.Where {
		if got, err := at(doc, path); err != nil || fmt.Sprint(got) != want {
			return false
		}
	}
	return true
}

// span finds a use's stamps.
func (s *Stamps) span(v any) (Span, error) {
	start, err := stamp(v, s.Start)
	if err != nil {
		return Span{}, err
	}
	end, err := stamp(v, s.End)
	if err != nil {
		return Span{}, err
	}
	if end < start {
		return Span{}, fmt.Errorf("a use ends at %d, before it starts at %d", end, start)
	}
	return Span{start, end}, nil
}

func stamp(v any, path string) (int64, error) {
	found, err := at(v, path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(fmt.Sprint(found), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is %v, and not a whole number of nanoseconds", path, found)
	}
	return n, nil
}
