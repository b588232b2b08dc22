// Package oplogtest tests implementations of [oplog.Log].
//
// [TestLog] checks one log, [TestShared] checks a log that several engines use. Both return
// an error that names each broken rule, in the manner of testing/fstest, so that a test can
// also show that a wrong log is found out.
//
// [Shared] is an in-memory log for several engines in one process.
package oplogtest
