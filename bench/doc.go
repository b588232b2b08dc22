// Package bench compares the engine with its alternatives: locks held over check and use, a
// map behind a lock, an actor that is asked through a future. It only uses the public API.
// Quoted figures are ratios of two sides that ran alternately in one process: see
// docs/benchmarks.md, and run
//
//	        make bench
//		make bench
package bench
