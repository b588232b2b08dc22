package config

import (
	"errors"
	"strconv"
)

// Decisions says which decisions are logged: [LogNone], [LogDenied] or [LogAll].
type Decisions string

// The values of log.decisions.
const (
	LogNone   Decisions = "off"
	LogDenied Decisions = "denied"
	LogAll    Decisions = "all"
)

// UnmarshalText accepts off, denied and all.
func (d *Decisions) UnmarshalText(text []byte) error {
	switch value := Decisions(text); value {
	case LogNone, LogDenied, LogAll:
		*d = value
		return nil
	}
	return errors.New("must be denied, all or off")
}

// MarshalText returns the value.
func (d Decisions) MarshalText() ([]byte, error) { return []byte(d), nil }

// maxRate bounds a [Rate]: the log has a buffer for so many lines.
const maxRate = 100_000

// Rate is a number of events in a second, at least 1.
type Rate int

// UnmarshalText accepts a whole number from 1 to 100000.
func (r *Rate) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 1 || n > maxRate {
		return errors.New("must be a whole number from 1 to 100000")
	}
	*r = Rate(n)
	return nil
}

// MarshalText returns the number.
func (r Rate) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(r), 10), nil }
