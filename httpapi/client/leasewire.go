package client

import "time"

// LeasesPath is the path of remote leases. The path of one lease is LeasesPath + "/" + its ID.
const LeasesPath = "/v1/leases"

// Bounds of the protocol of remote leases.
const (
	// MinLeaseTTL and MaxLeaseTTL bound the time that a lease may last without a renewal.
	MinLeaseTTL = time.Second
	MaxLeaseTTL = time.Minute
	// DefaultLeaseTTL is that of a lease whose client asks for none.
	DefaultLeaseTTL = 10 * time.Second
	// MaxRenewed bounds the leases that one request renews.
	MaxRenewed = 1000
	// LeaseHeartbeat is the longest silence of an event stream.
	LeaseHeartbeat = 5 * time.Second
)

// States of a lease, as a renewal and [LeaseStatus] name them.
const (
	LeaseLive    = "live"
	LeaseRenewed = "renewed"
	// LeaseRevoked means that the authority was lost. The client ends its operation, at once or
	// within the grace, and releases the lease.
	LeaseRevoked = "revoked"
	// LeaseEnded means that the lease was released or has expired, or never existed.
	LeaseEnded = "ended"
)

// LeaseRequest is the body of a PUT that acquires a lease. Without a subject the lease is for the
// caller.
type LeaseRequest struct {
	Evaluation
	// TTL is in seconds; 0 for the default.
	TTL float64 `json:"ttl,omitzero"`
	// Session is an ID that the client process chose, 1 to 64 characters of A-Z a-z 0-9 _ - .
	Session string `json:"session"`
}

// LeaseGrant is the answer to a PUT.
type LeaseGrant struct {
	Lease     string `json:"lease"`
	Principal string `json:"principal"`
	// Revision is that of the decision.
	Revision uint64 `json:"revision"`
	// TTL is in seconds.
	TTL float64 `json:"ttl"`
}

// LeaseStatus is the answer to a GET.
type LeaseStatus struct {
	Lease string `json:"lease"`
	// Holder is the caller that acquired the lease.
	Holder    string `json:"holder"`
	Principal string `json:"principal"`
	Action    string `json:"action"`
	Resource  string `json:"resource"`
	Revision  uint64 `json:"revision"`
	// State is [LeaseLive] or [LeaseRevoked].
	State string `json:"state"`
	// Remaining is the time until the lease expires, in seconds.
	Remaining float64 `json:"remaining"`
}

// Renewal is the body of a renewal.
type Renewal struct {
	Session string   `json:"session"`
	Leases  []string `json:"leases"`
}

// Renewed is the answer to a renewal.
type Renewed struct {
	// States are [LeaseRenewed], [LeaseRevoked] or [LeaseEnded], in the order of the request.
	States []string `json:"states"`
	// Graces are how long the operations of revoked leases may continue, in seconds. A lease that
	// is missing has no grace.
	Graces map[string]float64 `json:"graces,omitzero"`
}

// Names of the events of a session. The data of snapshot is a [LeaseSnapshot], that of revoked and
// ended a [LeaseEvent], and that of end a [Problem], which says why the server ends the stream.
const (
	EventSnapshot = "snapshot"
	EventRevoked  = "revoked"
	EventEnded    = "ended"
	EventEnd      = "end"
)

// LeaseSnapshot is the first event of a stream: all leases of the session.
type LeaseSnapshot struct {
	Leases []LeaseEvent `json:"leases"`
}

// LeaseEvent is the state of a lease.
type LeaseEvent struct {
	Lease string `json:"lease"`
	// State is [LeaseLive], [LeaseRevoked] or [LeaseEnded].
	State string `json:"state"`
	// Grace is how long the operation of a revoked lease may continue, in seconds.
	Grace float64 `json:"grace,omitzero"`
}
