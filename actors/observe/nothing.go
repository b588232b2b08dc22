package observe

import (
	"context"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Nothing is an observer that does nothing. Embed it to implement [actors.Observer] in part.
type Nothing struct{}

var _ actors.Observer = Nothing{}

// Decided implements [actors.Observer]. It does not ask for descriptions.
func (Nothing) Decided(policy.Principal, policy.Reason) bool { return false }

// Described implements [actors.Observer].
func (Nothing) Described(context.Context, *actors.ObservedDecision) {}

// Waited implements [actors.Observer].
func (Nothing) Waited(policy.Principal, time.Duration) {}

// Admitted implements [actors.Observer].
func (Nothing) Admitted(*actors.Lease) any { return nil }

// Released implements [actors.Observer].
func (Nothing) Released(*actors.Lease, any, time.Duration, string) {}

// Delivered implements [actors.Observer].
func (Nothing) Delivered(actors.AppliedUpdate) {}

// Quiesced implements [actors.Observer].
func (Nothing) Quiesced(actors.AppliedUpdate) {}

// Swept implements [actors.Observer].
func (Nothing) Swept(time.Duration) {}
