package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Entry is the record of one update.
type Entry struct {
	Revision uint64 `json:"revision"`
	// Previous is the revision that the update was based on.
	Previous uint64    `json:"previous"`
	Time     time.Time `json:"time"`
	// Author is a principal, empty for the server itself.
	Author string `json:"author,omitzero"`
	// Certificate is the SHA-256 of the author's certificate, in hexadecimal.
	Certificate string `json:"certificate,omitzero"`
	// Changes lists at most 1,000 changes; Count is of all.
	Changes []policy.ChangeSpec `json:"changes"`
	Count   int                 `json:"count"`
	// Hash is the SHA-256 of the entry, which covers the hash of the previous one.
	Hash string `json:"hash"`
}

// Page is a page of changes.
type Page struct {
	Changes []Entry `json:"changes"`
	// Revision is the newest that exists. Oldest is the first that is kept.
	Revision uint64 `json:"revision"`
	Oldest   uint64 `json:"oldest"`
}

// PageOptions of [Client.Changes]. After and Last exclude each other.
type PageOptions struct {
	// After selects the changes after a revision.
	After uint64
	// Last selects that many of the newest changes, at most 1,000; nil for all after After.
	Last *int
	// Limit bounds the page, 1 to 1,000; 0 for the server's default of 100.
	Limit int
}

// Changes reads a page of changes, the oldest first. Continue with After set to the last
// revision of the page.
func (c *Client) Changes(ctx context.Context, o PageOptions) (*Page, error) {
	q := url.Values{}
	if o.Last != nil {
		q.Set("last", strconv.Itoa(*o.Last))
	}
	if o.After > 0 {
		q.Set("after", strconv.FormatUint(o.After, 10))
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	var page Page
	if _, err := c.short(ctx, call{method: http.MethodGet, path: "/v1/changes", query: q}, &page); err != nil {
		return nil, err
	}
	return &page, nil
}

// ErrStreamBroken is wrapped by the error of [Client.Follow] when the connection ends without a
// word of the server.
var ErrStreamBroken = errors.New("client: the stream broke off")

// Follow yields the changes after a revision, and then each new one as it is applied, until the
// loop ends, the context ends, or the stream does. It yields one error at most, as the last
// element: a [*Problem] that says why the server refused or ended the stream, or an error that
// wraps [ErrStreamBroken]. To resume, follow after the last revision that it yielded.
func (c *Client) Follow(ctx context.Context, after uint64) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		resp, err := c.open(ctx, call{
			method: http.MethodGet, path: "/v1/changes", query: url.Values{"after": {strconv.FormatUint(after, 10)}},
			header: http.Header{"Accept": {"text/event-stream"}},
		})
		if err != nil {
			yield(nil, err)
			return
		}
		defer resp.Body.Close()
		lines := bufio.NewReader(resp.Body)
		for {
			entry, err := nextEntry(lines)
			if err != nil && ctx.Err() != nil {
				err = ctx.Err()
			}
			if !yield(entry, err) || err != nil {
				return
			}
		}
	}
}

// nextEntry reads the stream up to its next change.
func nextEntry(lines *bufio.Reader) (*Entry, error) {
	event := ""
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("%w: %w", ErrStreamBroken, err)
		}
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ": ")
		switch {
		case name == "event":
			event = value
		case name == "data" && event == "change":
			entry := new(Entry)
			return entry, json.Unmarshal([]byte(value), entry)
		case name == "data" && event == "end":
			p := new(Problem)
			if err := json.Unmarshal([]byte(value), p); err != nil {
				return nil, err
			}
			return nil, p
		}
	}
}
