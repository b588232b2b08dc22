// Package oplog is the contract between an engine and the log that orders its updates.
//
// An engine hands a [Proposal] to a [Log]. The log orders proposals, evaluates their
// preconditions on its tip, keeps the resulting revisions, and delivers an [Outcome] for
// each. An update takes effect when the log delivers it, not when Propose returns.
//
// A proposal has two parts. Its [Change] is data, which a log can store and send to other
// processes. Its preconditions and its claim are local to the process that proposes. Several
// engines can therefore share one log: each engine gets the outcomes of all proposals, and
// an outcome carries the ID of its proposal, so that the proposing engine finds the caller
// that waits for it.
//
// [Memory] is a log that keeps everything in memory. Package journal keeps a log on disk.
// Package oplogtest has a conformance suite for implementations of Log.
package oplog
