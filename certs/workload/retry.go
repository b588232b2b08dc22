package workload

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// The waits before the next attempt. An attempt on a local socket costs little. With gRPC's own backoff of up to two
// minutes, a restarted agent would be unseen for as long.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// retrying implements [workloadapi.BackoffStrategy].
type retrying struct{}

// NewBackoff implements [workloadapi.BackoffStrategy].
func (retrying) NewBackoff() workloadapi.Backoff { return &patience{firstRetry} }

// patience implements [workloadapi.Backoff], and is for one goroutine.
type patience struct{ next time.Duration }

// Next implements [workloadapi.Backoff].
func (p *patience) Next() time.Duration {
	wait := p.next
	p.next = min(2*wait, lastRetry)
	return wait
}

// Reset implements [workloadapi.Backoff].
func (p *patience) Reset() { p.next = firstRetry }

// reconnecting limits gRPC's backoff to ours.
func reconnecting() grpc.DialOption {
	return grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: firstRetry, Multiplier: 2, Jitter: 0.2, MaxDelay: lastRetry},
		MinConnectTimeout: lastRetry,
	})
}
