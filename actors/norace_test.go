//go:build !race

package actors

// withRaceDetector tells the tests how they were built.
const withRaceDetector = false
