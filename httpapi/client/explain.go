package client

import (
	"context"
	"net/http"
	"time"
)

// ExplainRequest asks what the policy of a revision says.
type ExplainRequest struct {
	Principal string `json:"principal"`
	Action    string `json:"action"`
	Resource  string `json:"resource"`
	// Properties are those of the resource.
	Properties map[string]any `json:"properties,omitzero"`
	// At is the revision; nil for the newest.
	At *uint64 `json:"at,omitzero"`
	// Time is the instant for grants that expire and for conditions; zero for now.
	Time time.Time `json:"time,omitzero"`
}

// Explanation is the decision of a revision, and the update that changed it.
type Explanation struct {
	Decision    bool      `json:"decision"`
	Reason      string    `json:"reason"`
	Explanation string    `json:"explanation"`
	At          uint64    `json:"at"`
	Time        time.Time `json:"time"`
	// Until is the first later update that changed the decision; nil if none did.
	Until *Entry `json:"until,omitzero"`
	// Searched is the last revision that was examined, if Until is nil.
	Searched uint64 `json:"searched,omitzero"`
}

// Explain returns the decision of a revision, and the update that changed it. The caller needs
// interlock:read on changes.
func (c *Client) Explain(ctx context.Context, r ExplainRequest) (*Explanation, error) {
	var e Explanation
	if _, err := c.short(ctx, call{method: http.MethodPost, path: "/v1/explain", body: &r}, &e); err != nil {
		return nil, err
	}
	return &e, nil
}
