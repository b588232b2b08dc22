// Package leases serves remote leases: a client in another process, in any language, runs an
// operation of its own under the promises G1 and G2 of package actors. docs/leases.md is the
// protocol.
//
// # Why G1 holds
//
// A client starts its operation after the answer to its PUT. The server admits the lease in a
// turn of the principal, after it received the PUT and before it answers. So at that moment the
// principal was allowed, with the credential of the connection. An answer to a repeated PUT does
// not admit again: it names a lease that is still live and not revoked. If it was revoked after
// that answer was written, the revocation waits for the lease, as below.
//
// # Why G2 holds
//
// An update waits for the leases of the engine that it forbids. The lease of the engine is
// released when the remote lease ends, and a remote lease ends once, under its mutex, in one of
// two ways. Either the client released it, and thereby said that its operation has ended. Or its
// time has passed: T after the server received the last request that it answered with "renewed",
// or after the admission. The client stops its operation T minus a margin after it sent the
// last request that was answered so. It sent that request before the server received it. Both
// measure intervals, so only the rates of their clocks have to agree, to within the margin. So the
// operation has ended when the lease expires. A renewal that arrives after the end is answered
// "ended", because the state is final: it cannot bring the lease back.
//
// A lost, repeated, delayed or reordered request cannot break this:
//
//   - A PUT that arrives twice names the same ID. If the lease lives, it is the same lease, whose
//     time it does not extend. If it has ended, the server remembers the ID and rejects the PUT.
//   - A PUT that arrives after the DELETE of its ID finds the ID remembered, also if the DELETE
//     arrived before any PUT, or while the PUT waited for its turn.
//   - A PUT that is delayed for longer than IDs are remembered, or over a restart of the server, may
//     leave a lease without a client. It delays receipts until it expires and breaks nothing.
//   - A renewal that arrives late extends the server's time and not the client's. Receipts wait
//     longer.
//   - A DELETE that arrives late or twice ends what the client has ended before it sent it.
//
// # A lease for another principal
//
// The engine admits the lease of the holder, for interlock:lease on the principal, and then that
// of the principal. The turns are of two actors, so the first could be revoked in between. The
// server looks at it again after the second: if it still has its authority then, both held at
// that moment. The loss of either ends the remote lease.
//
// # A rotated certificate
//
// A renewal over a connection with another certificate admits the request again, with the new
// credential, in a turn, and then puts the new lease of the engine in the place of the old one,
// under the mutex of the remote lease, if that is still live and the old lease of the engine still has
// its authority. A revocation of the old certificate finds either the old lease in its place, and
// revokes the remote lease, or the new one, which it does not concern. A revocation of anything
// else finds both. This is not an acquisition: the operation began before. If the engine cannot
// answer in time, the remote lease stays on the old certificate until the next renewal.
//
// # A crash
//
// A server that ends without Close knows nothing of the leases that are out. They expire within
// [Options.MaxTTL]. Before the first lease is admitted, the server writes a mark to disk, see
// [Mark]. A server that finds the mark when it starts tells the engine to settle for that long:
// see [actors.Options.QuiesceAfter]. Close removes the mark if no lease is live.
//
// # What cannot be promised
//
// A client that is paused for longer than its lease, and then resumes in the middle of its
// operation, does not notice until it looks at a clock. It should call Check before a side
// effect. A resource can ask for a lease at its own commit point, which narrows the gap. Only
// fencing by the resource closes it.
package leases
