package web

import (
	"context"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Authorize asks, in one turn of the principal, whether it may make all requests. The requests
// have the same principal. The error is an [*actors.DeniedError] for the first request that is
// denied, or that of [Undecided], or that of the engine.
func Authorize(ctx context.Context, engine *actors.Engine, requests ...actors.Request) error {
	decisions, err := engine.DecideAll(ctx, requests)
	if err != nil {
		return err
	}
	for i := range decisions {
		if err := Refused(&decisions[i], &requests[i]); err != nil {
			return err
		}
	}
	return nil
}

// Refused returns the error of a decision that does not allow the request, nil for one that does.
// The error is that of [Undecided], or an [*actors.DeniedError].
func Refused(d *policy.Decision, req *actors.Request) error {
	if d.Allowed {
		return nil
	}
	if err := Undecided(d, req); err != nil {
		return err
	}
	return denied(d, req)
}

// Undecided returns the error of a decision that the policy did not make: the engine could not
// decide, or the caller's credential has ended. It returns nil for all others.
func Undecided(d *policy.Decision, req *actors.Request) error {
	switch d.Reason {
	case policy.ReasonFault, policy.ReasonUnset:
		return actors.ErrFault
	case policy.ReasonClosed:
		return actors.ErrClosed
	case policy.ReasonFenced:
		return actors.ErrFenced
	case policy.ReasonOverloaded:
		return actors.ErrOverloaded
	case policy.ReasonCredentialExpired, policy.ReasonCredentialRevoked:
		return denied(d, req)
	}
	return nil
}

func denied(d *policy.Decision, req *actors.Request) error {
	return &actors.DeniedError{Decision: *d, Principal: req.Principal, Action: req.Action, Resource: req.Resource}
}
