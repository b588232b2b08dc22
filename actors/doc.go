// Package actors is the engine of interlock. Every principal is an actor that owns its
// permissions. Requests and updates of a principal queue in one mailbox, so each request is
// entirely before or after each update, and no update takes effect between check and use.
//
// [Engine.Execute] decides and runs a short function in the same turn. [Engine.Do] does so
// for a function without a context, at a lower cost. [Engine.Admit] decides and records a
// [Lease]; the operation runs outside the turn, under the lease's context. [Engine.Decide] only
// answers, and the answer can be stale when it is read. [Engine.Update] changes the policy.
//
// # Promises
//
// G1 Atomic. An operation starts only if its principal is allowed, with that credential, in
// the turn in which it starts.
//
// G2 Quiescent revocation. When Update returns nil, no operation that the update forbids is
// running, and none starts until a later update allows it. Operations that the new policy
// still allows continue.
//
// G3 Exactly once or never. When Execute returns, its function has run exactly once or will
// never run.
//
// G4 Monotonic. Revisions only grow. After an update returned revision R, every later
// decision of any principal is made at R or later, and names its revision.
//
// G5 Durable. An acknowledged update is as durable as the engine's [oplog.Log]. With the log
// of package journal it survives kill -9 and power loss. [oplog.Memory] keeps everything in
// memory.
//
// G6 Fail closed. Unknown principals, roles and actions, evaluation errors, overload and
// faults deny, each with its own reason. A panic or Goexit in a user's function does not
// change the principal's state.
//
// G7 No shared locks. On the path of a request, one principal's load, slow function,
// activation or update never delays another's.
//
// # How it works
//
// The goroutine that posts a request runs the turn itself if the mailbox is idle, which
// costs a compare-and-swap. Otherwise the request is queued. Updates, expiries and releases
// have a lane of their own, which is never refused and goes before queued requests. The
// states of a mailbox are documented in mailbox.go.
//
// One actor, the authority, orders the updates. An update takes effect when the log delivers
// its outcome. The turns of a principal are functions of state and message in turn.go;
// goroutines, clocks and the actor system are around them.
package actors
