// Package observe has observers for [actors.Options]: counters for metrics, and a log of decisions.
// [Join] joins several. An observer of your own embeds [Nothing] and has only the methods that
// it needs.
package observe
