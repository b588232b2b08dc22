package openapitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const problemMedia = "application/problem+json"

// check checks a value as it is in a query or a header.
func (p *parameter) check(text string) error {
	if p.list {
		var items []any
		for item := range strings.SplitSeq(text, ",") {
			items = append(items, item)
		}
		return p.schema.Validate(items)
	}
	asText := p.schema.Validate(text)
	if asText == nil {
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil || p.schema.Validate(value) != nil {
		return fmt.Errorf("%q: %w", text, asText)
	}
	return nil
}

// Check checks an example.
func (e *Example) Check() error {
	if text, ok := e.Value.(string); ok {
		return e.body.checkText(e.media, []byte(text))
	}
	return e.body.schema.Validate(e.Value)
}

// checkText checks a whole body.
func (c *content) checkText(media string, text []byte) error {
	switch {
	case c.line != nil:
		return c.checkLines(text)
	case c.events != nil:
		return c.checkEvents(text)
	case c.schema == nil:
		return nil
	case strings.HasSuffix(media, "json"):
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return err
		}
		return c.schema.Validate(value)
	case strings.HasSuffix(media, "yaml"):
		var value any
		if err := yaml.Unmarshal(text, &value); err != nil {
			return err
		}
		return c.schema.Validate(plain(value))
	}
	return c.schema.Validate(string(text))
}

// plain makes JSON of a value of YAML, in which an instant need not be in quotes.
func plain(value any) any {
	switch v := value.(type) {
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case map[string]any:
		for name := range v {
			v[name] = plain(v[name])
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	}
	return value
}

// maxLines bounds the lines and the events of a body that are checked.
const maxLines = 1000

func (c *content) checkLines(text []byte) error {
	count := 0
	for line := range bytes.Lines(text) {
		if count++; count > maxLines || !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err == nil {
			err = c.line.Validate(value)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", count, err)
		}
	}
	return nil
}

// checkEvents checks the events whose data is complete.
func (c *content) checkEvents(text []byte) error {
	name, count := "", 0
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), ": ")
		switch field {
		case "", "id":
		case "event":
			name = value
		case "data":
			if count++; count > maxLines {
				return nil
			}
			data, err := jsonschema.UnmarshalJSON(strings.NewReader(value))
			if schema := c.events[name]; err == nil && schema == nil {
				err = errors.New("it is not documented")
			} else if err == nil {
				err = schema.Validate(data)
			}
			if err != nil {
				return fmt.Errorf("event %q: %w", name, err)
			}
		default:
			return fmt.Errorf("field %q of an event is not documented", field)
		}
	}
	return nil
}

// undocumented are the problems of requests that are not in the document.
var undocumented = map[int]string{
	http.StatusNotFound: "not-found", http.StatusMethodNotAllowed: "method-not-allowed",
	http.StatusForbidden: "cross-site", http.StatusMisdirectedRequest: "foreign-host",
}

// checkUndocumented checks the answer to a request that is not in the document.
func (a *API) checkUndocumented(status int, body []byte) error {
	var doc struct{ Type string }
	_ = json.Unmarshal(body, &doc)
	if name := undocumented[status]; name == "" || doc.Type != "" && doc.Type != "urn:interlock:problem:"+name {
		return fmt.Errorf("the document has no such operation, and the answer is %d %s", status, doc.Type)
	}
	if doc.Type == "" {
		return nil // of HEAD
	}
	return (&content{schema: a.problem}).checkText(problemMedia, body)
}

// checkRequest checks a request that succeeded. body is nil if it is not known.
func (op *Operation) checkRequest(r *http.Request, body []byte) error {
	for name, values := range r.URL.Query() {
		p := op.parameters["query "+name]
		if p == nil {
			if op.Path == "/access/v1/evaluation" || op.Path == "/access/v1/evaluations" {
				continue // AuthZEN: unknown ones are ignored
			}
			return fmt.Errorf("the parameter %s is not documented", name)
		}
		if err := p.check(values[0]); err != nil {
			return fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	for key, p := range op.parameters {
		in, name, _ := strings.Cut(key, " ")
		switch {
		case in == "query" && p.required && !r.URL.Query().Has(name):
			return fmt.Errorf("the parameter %s is missing", name)
		case in == "header" && p.required && r.Header.Get(name) == "":
			return fmt.Errorf("the header %s is missing", name)
		case in == "header" && r.Header.Get(name) != "":
			if err := p.check(r.Header.Get(name)); err != nil {
				return fmt.Errorf("header %s: %w", name, err)
			}
		}
	}
	for _, name := range ownRequestHeaders {
		if r.Header.Get(name) != "" && op.parameters["header "+name] == nil {
			return fmt.Errorf("the header %s is not documented", name)
		}
	}
	if body == nil || op.request == nil {
		return nil
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	c := op.request[media]
	if c == nil {
		if aliases[media] != "" && op.request[aliases[media]] != nil {
			return nil
		}
		return fmt.Errorf("a body of %q is not documented", media)
	}
	if err := c.checkText(media, body); err != nil {
		return fmt.Errorf("the body of the request: %w", err)
	}
	return nil
}

// aliases are older names of media types that the server accepts too.
var aliases = map[string]string{"text/yaml": "application/yaml", "application/x-yaml": "application/yaml"}

// Headers that have to be documented where they occur.
var (
	ownRequestHeaders = []string{"If-Match", "Idempotency-Key", "Last-Event-Id"}
	ownAnswerHeaders  = []string{"Etag", "Retry-After", "Trailer", "Interlock-Principal", "Interlock-Revision"}
)

// checkHead checks the status and the headers of an answer, and returns what its body has; nil for
// one that is not checked.
func (op *Operation) checkHead(resp *http.Response) (*content, error) {
	r := op.responses[resp.StatusCode]
	if r == nil {
		return nil, fmt.Errorf("the status %d is not documented", resp.StatusCode)
	}
	for name, h := range r.headers {
		value := resp.Header.Get(name)
		if name == "Trailer" && resp.Trailer != nil { // net/http has taken it out
			for announced := range resp.Trailer {
				value = announced
			}
		}
		if value == "" {
			if h.required {
				return nil, fmt.Errorf("%d without the header %s", resp.StatusCode, name)
			}
			continue
		}
		if err := h.check(value); err != nil {
			return nil, fmt.Errorf("%d, header %s: %w", resp.StatusCode, name, err)
		}
	}
	for _, name := range ownAnswerHeaders {
		if resp.Header.Get(name) != "" && r.headers[name] == nil {
			return nil, fmt.Errorf("%d: the header %s is not documented", resp.StatusCode, name)
		}
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if len(r.content) == 0 && media == "" {
		return nil, nil
	}
	c := r.content[media]
	if c == nil {
		return nil, fmt.Errorf("%d: the media type %q is not documented", resp.StatusCode, media)
	}
	return c, nil
}
