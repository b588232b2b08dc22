// Package bench measures the engine beside what stands in its place elsewhere: locks held
// over check and use, a map behind a lock, an actor asked through a future. It uses the
// public API alone. A figure that is quoted is a ratio of two sides that ran in turn in one
// process; see docs/benchmarks.md, and run
//
//	make bench
package bench
