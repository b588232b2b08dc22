// Package cli is what the binaries share: exit statuses, hints, signals, groups of commands and the line that shows
// progress.
package cli
