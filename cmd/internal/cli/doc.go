// Package cli is what the binaries share: exit statuses, hints, signals, groups of commands, their arguments and output
// formats, and the line that shows progress.
package cli
