// Package canary watches the promises of a running engine. A probe principal is granted a role
// and loses it again, through the real path of updates, while operations of the probe run. The
// canary measures how long the revocation takes, and reports a violation if the engine breaks a
// promise.
//
// # A round
//
//  1. The canary grants [policy.CanaryRole] to the probe. When the update has returned, operations
//     of every mode must be allowed.
//  2. Six goroutines call the engine for the probe: two call Execute, with a function that takes
//     about 100 µs; two call Admit and hold the lease until its context is canceled; one calls
//     Admit for short operations; one calls Decide.
//  3. When each of them has been allowed, the canary revokes the role and measures the time from
//     the call of Update to its return.
//  4. From that moment on, no operation of the probe may be running, none may start, and every
//     decision must deny and name the revision of the revocation or a later one.
//
// A round ends in one of three ways. It passes. It is violated, which is [*Violation]. Or it fails:
// the log is unavailable, the revocation is not quiesced in time, the engine is overloaded or
// closed, or another update has changed what the probe may do. A round that passes above the SLO
// is an SLO miss too.
//
// # Why there are no false alarms
//
// An operation announces itself only while the engine counts it as running. It announces itself
// after Admit has returned or its function has begun, and takes that back before it calls Release
// or its function returns. So an announced operation has not ended for the engine, however late
// its goroutine is scheduled.
//
// The canary notes that the revocation has returned, and then reads the announcements. An
// operation announces itself, and then reads whether the revocation has returned; it does so once
// more before it takes the announcement back. These are sequentially consistent atomics. An
// operation that finds the note, or that the canary finds, was running after Update had returned.
// An engine that keeps G2 has no such operation, because Update waits for what it forbids.
//
// A denial counts only if its operation finds, after the denial, that the canary has not asked for
// the revocation. The canary notes that before it calls Update, so the revocation cannot be the
// cause. A decision counts as later than the return only if its goroutine found the note before
// it called the engine.
//
// An administrator can grant the role to the probe too, or take it away. So each finding is
// compared with the policy that the log has at the revision of the decision. The policies of the
// grant and of the revocation are judged in the preconditions of these updates, without the
// engine's turns and caches. Any other revision is read from the history of the log. If the
// policy at that revision agrees with the engine, or if the log has no history, the round fails
// and is no violation. An operation that was admitted before the revocation needs no comparison,
// because a revocation is final.
//
// Timeouts, refusals and errors of the log are failures. An update that did not return nil has
// promised nothing.
//
// # What the canary cannot see
//
// It watches the engine that it runs in. It does not watch other engines on the same log, although
// its updates wait for them. It does not use certificates, conditions, limits or pattern grants.
// One round samples a few hundred operations, so a narrow race may pass many rounds.
//
// # Cost
//
// Each round is two updates and so two entries of the log, and two revisions. The first round
// adds the role to the policy. The role and the record of the probe stay when the canary is
// turned off. They give access to nothing that anything else uses, and
// [github.com/interlock-authz/interlock/actors/policy/policyfile.Diff] ignores them.
package canary
