// Package actors is the engine of interlock: an authorization engine in which every
// principal is an actor that owns its permissions. A request and a change of the
// principal's rights queue in one mailbox, so one of them is wholly before the other;
// the check and the use cannot be torn apart.
//
// There are three ways to ask. [Engine.Execute] runs a short function in the very turn
// that checks; [Engine.Admit] checks and records a [Lease], under whose context an
// operation runs outside the turn; [Engine.Decide] gives the answer alone, which can be
// stale by the time it is read. [Engine.Update] changes the policy.
//
// # Promises
//
// G1, atomic: an operation starts only if its principal is allowed, with that credential,
// in the very turn in which it starts. No update of that principal takes effect between
// the check and the use.
//
// G2, quiescent revocation: when Update returns nil, no operation of the principals that
// it concerns which its policy forbids is running on this engine, and none will start
// until a later update allows it. Operations in flight that the new policy still allows
// go on undisturbed.
//
// G3, never twice, never after: when Execute returns, its function has run exactly once
// or will never run; it is not running still.
//
// G4, monotonic: every accepted update has a revision, greater than every earlier one. A
// decision names its revision and time. After an update returned revision R, every later
// decision, of any principal, names R or above.
//
// G5, durable: an acknowledged update is as durable as the engine's [Log] makes it. With
// that of package journal it survives kill -9 and the loss of power, a damaged record is
// denied or refused, and named, and a store that lost acknowledged revisions refuses to
// open. The log that this package brings keeps everything in memory.
//
// G6, fail closed: an unknown principal, role or action, an evaluation error, an
// overload, a fault: all deny, each with its own reason. A panic or Goexit in a user's
// function is that caller's error and leaves the principal's state as it was.
//
// G7, no shared locks on the path of a request: one principal's load, slow function,
// activation or update never delays another's.
//
// # How it works
//
// A principal's mailbox lets the goroutine that posts a request run its turn itself when
// the mailbox is idle, which costs a compare-and-swap instead of a switch of goroutines.
// Otherwise the request queues. Changes, expiries and releases have a lane of their own
// that is never refused and goes before every queued request.
//
// Updates are ordered by one actor, the authority, and take effect when the log delivers
// them. The turns of principal and authority are functions of state and message; clocks,
// goroutines and the actor system stand around them.
package actors
