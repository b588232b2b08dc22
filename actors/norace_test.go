//go:build !race

package actors

// WithRaceDetector tells the tests how they were built.
const WithRaceDetector = false
