// Package race finds races between check and use in any API behind mutual TLS, from
// outside. It calls a protected operation over many connections while it revokes and grants
// the permission, and looks for evidence that the API breaks its promise.
//
// Evidence for a stale use lies between the acknowledgment of a change and the sending of
// the next, opposite change:
//
//   - effects: something that every use changes has changed between two reads in that time;
//   - uses: a use that the target stamps lies in that time;
//   - echoes: bytes made after the acknowledgment came back from an operation that was
//
// admitted before;
//   - calls: a call began and ended in that time and got the answer of the old policy.
//
// A use that was running at the acknowledgment of a revocation and ended after it shows
// that the revocation is not quiescent.
//
// All times are readings of this host's CLOCK_MONOTONIC in nanoseconds, which compare
// across processes. So stamps need a target on the same host.
package race
