package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Changes is the request for an update: a list of changes, all or none.
type Changes struct {
	Changes []policy.ChangeSpec `json:"changes"`
}

// EndedLease is an operation that an update waited for.
type EndedLease struct {
	Lease     uint64 `json:"lease"`
	Principal string `json:"principal"`
	Action    string `json:"action"`
	Resource  string `json:"resource"`
	// How is "finished" or "canceled", and for a remote lease "released" or "expired".
	How string `json:"how"`
	// After is a duration such as "85µs", counted from when the update took effect.
	After string `json:"after"`
}

// String names the operation on one line.
func (l *EndedLease) String() string {
	return fmt.Sprintf("lease %d: %s %s on %s", l.Lease, l.Principal, l.Action, l.Resource)
}

// Receipt lists the operations that an update ended and those that it still waits for.
type Receipt struct {
	Revision uint64 `json:"revision"`
	// Quiesced means that no operation that the update forbids is running.
	Quiesced bool `json:"quiesced"`
	// Ended and Running list at most 1,000 operations each; the counts are of all.
	Ended        []EndedLease `json:"ended"`
	EndedCount   int          `json:"endedCount"`
	Running      []Operation  `json:"running"`
	RunningCount int          `json:"runningCount"`
	// Waiting lists at most 1,000 principals with a turn that has not ended, and WaitingCount
	// counts all.
	Waiting      []policy.Principal `json:"waiting,omitempty"`
	WaitingCount int                `json:"waitingCount,omitzero"`
	// Connections is the number of connections closed because their certificate became invalid.
	Connections int `json:"connections"`
	// StillGrantedBy lists grants that still give a role that the update revoked. It is empty
	// if the caller may not read the policy; StillGrantedCount counts them all the same.
	StillGrantedBy    []policy.GrantSpec `json:"stillGrantedBy"`
	StillGrantedCount int                `json:"stillGrantedCount"`
	// Missing lists the engines sharing the log that have not confirmed the update.
	Missing []string `json:"missing,omitempty"`
	// Unchanged means that the policy was the same before.
	Unchanged bool `json:"unchanged,omitzero"`
	// Restarted means that the update is from before the last start of the server.
	Restarted bool `json:"restarted"`
	// Settling means that the server did not stop cleanly, and that remote clients which it gave
	// leases may still be working, until those leases expire.
	Settling bool `json:"settling,omitzero"`
}

// Preview says what an update would do.
type Preview struct {
	DryRun bool `json:"dryRun"`
	// At is the revision that the preview is based on.
	At       uint64              `json:"at"`
	Changes  []policy.ChangeSpec `json:"changes"`
	WouldEnd []Operation         `json:"wouldEnd"`
}

// ForceFullRights is the value of the query parameter force that permits an update to take full
// rights from its author, or from all principals that have connected.
const ForceFullRights = "full-rights"

// ForceCA is the value of the query parameter force that permits an update to revoke the
// certificate of a CA.
const ForceCA = "authority"

// UpdateOptions of [Client.Update] and [Client.PutPolicy].
type UpdateOptions struct {
	// Wait is how long the server waits until the update is quiesced, at most a minute; nil
	// for the server's default of 10 s.
	Wait *time.Duration
	// Grace lets operations that the update forbids continue for so long, at most an hour.
	// Nil leaves it to the operations.
	Grace *time.Duration
	// DryRun checks everything and applies nothing.
	DryRun bool
	// Force permits an update that takes full rights from its author, or from all principals
	// that have connected.
	Force bool
	// ForceCA permits an update that revokes the certificate of a CA.
	ForceCA bool
	// IfMatch is the ETag of the policy that the changes are based on. Required by PutPolicy.
	IfMatch string
	// IdempotencyKey makes it safe to send the request again: 1 to 255 printable ASCII
	// characters without quotes and backslashes.
	IdempotencyKey string
}

func (o *UpdateOptions) query() url.Values {
	q := url.Values{}
	if o.Wait != nil {
		q.Set("wait", o.Wait.String())
	}
	if o.Grace != nil {
		q.Set("grace", o.Grace.String())
	}
	if o.DryRun {
		q.Set("dry-run", "true")
	}
	var forced []string
	if o.Force {
		forced = append(forced, ForceFullRights)
	}
	if o.ForceCA {
		forced = append(forced, ForceCA)
	}
	if len(forced) > 0 {
		q.Set("force", strings.Join(forced, ","))
	}
	return q
}

func (o *UpdateOptions) header() http.Header {
	h := http.Header{}
	if o.IfMatch != "" {
		h.Set("If-Match", o.IfMatch)
	}
	if o.IdempotencyKey != "" {
		h.Set("Idempotency-Key", `"`+o.IdempotencyKey+`"`)
	}
	return h
}

// Result is the answer to an update. Exactly one of Receipt and Preview is set: Preview for a
// dry run. A receipt that is not quiesced is not an error: call [Client.Receipt] to wait on.
type Result struct {
	Receipt *Receipt
	Preview *Preview
	// ETag names the revision of the receipt.
	ETag string
}

// UnmarshalJSON implements [json.Unmarshaler].
func (r *Result) UnmarshalJSON(text []byte) error {
	var kind struct {
		DryRun bool `json:"dryRun"`
	}
	if err := json.Unmarshal(text, &kind); err != nil {
		return err
	}
	if kind.DryRun {
		r.Preview = new(Preview)
		return json.Unmarshal(text, r.Preview)
	}
	r.Receipt = new(Receipt)
	return json.Unmarshal(text, r.Receipt)
}

// Update applies a list of changes, all or none, as one revision. A [*Problem] of status 504
// means that the update may have been applied: send it again with the same idempotency key.
func (c *Client) Update(ctx context.Context, changes []policy.ChangeSpec, o UpdateOptions) (*Result, error) {
	r := &Result{}
	h, err := c.short(ctx, call{
		method: http.MethodPost, path: "/v1/changes", query: o.query(), header: o.header(), body: &Changes{changes},
	}, r)
	if err != nil {
		return nil, err
	}
	r.ETag = h.Get("ETag")
	return r, nil
}

// Receipt returns the receipt of a revision. The server waits for at most a minute until the
// update is quiesced.
func (c *Client) Receipt(ctx context.Context, revision uint64, wait time.Duration) (*Receipt, error) {
	var r Receipt
	_, err := c.short(ctx, call{
		method: http.MethodGet, path: "/v1/changes/" + strconv.FormatUint(revision, 10), query: url.Values{"wait": {wait.String()}},
	}, &r)
	if err != nil {
		return nil, err
	}
	return &r, nil
}
