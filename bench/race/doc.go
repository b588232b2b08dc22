// Package race finds races between check and use in any API behind mutual TLS, from
// outside: it calls a protected operation over many connections while it takes the
// permission away and gives it back, and looks for what happened after the API had
// acknowledged that it cannot.
//
// What began before an acknowledgement proves nothing when it succeeds, nor do bytes that
// were in a buffer then. So a violation rests on evidence from after the acknowledgement
// of a change and from before the sending of the next, opposite one:
//
//   - effects: a second look at what the operation changes shows that it has changed
//     between two probes in that time, though nothing was granted;
//   - uses: a use that the target itself stamps lies in that time as a whole;
//   - echoes: bytes that were made after the acknowledgement came back from an operation
//     that was admitted before;
//   - calls: a call began and ended in that time and was answered by the old policy.
//
// All times are readings of this host's CLOCK_MONOTONIC in nanoseconds, which compare
// across processes; stamps are of use only from a target on the same host.
package race
