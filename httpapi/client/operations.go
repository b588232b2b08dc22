package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Operation is an operation in flight.
type Operation struct {
	Lease     uint64 `json:"lease"`
	Principal string `json:"principal"`
	Action    string `json:"action"`
	Resource  string `json:"resource"`
	// Revision is the one that admitted the operation.
	Revision uint64    `json:"revision"`
	Since    time.Time `json:"since"`
	// Revoked is the revision that took the operation's authority, 0 if none did.
	Revoked uint64 `json:"revoked,omitzero"`
	// Certificate is the SHA-256 of the caller's certificate, in hexadecimal.
	Certificate string `json:"certificate,omitzero"`
}

// String names the operation on one line.
func (l *Operation) String() string {
	return fmt.Sprintf("lease %d: %s %s on %s", l.Lease, l.Principal, l.Action, l.Resource)
}

// Operations is the list of operations in flight.
type Operations struct {
	Leases []Operation `json:"leases"`
}

// Operations lists the operations in flight: of one principal, or of all if principal is empty.
// The caller needs interlock:read on leases.
func (c *Client) Operations(ctx context.Context, principal string) ([]Operation, error) {
	k := call{method: http.MethodGet, path: "/v1/leases"}
	if principal != "" {
		k.query = url.Values{"principal": {principal}}
	}
	var list Operations
	if _, err := c.short(ctx, k, &list); err != nil {
		return nil, err
	}
	return list.Leases, nil
}
