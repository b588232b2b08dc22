package config

import (
	"fmt"
	"time"

	"github.com/interlock-authz/interlock/actors/canary"
)

// Canary configures the canary. Interval 0 turns it off.
type Canary struct {
	Interval time.Duration `yaml:"interval"`
	SLO      time.Duration `yaml:"slo"`
}

// minCanaryInterval bounds the entries of a canary in the log: at most a million in 11 days, so that
// with the default of keep.count the log reaches back further than keep.min-age.
const minCanaryInterval = 2 * time.Second

func (c Canary) check() error {
	switch {
	case c.Interval != 0 && c.Interval < minCanaryInterval:
		return fmt.Errorf("canary.interval is %s; it must be at least %s, or 0s for no canary", c.Interval, minCanaryInterval)
	case c.SLO <= 0 || c.SLO > canary.DefaultTimeout:
		return fmt.Errorf("canary.slo is %s; it must be positive and at most %s", c.SLO, canary.DefaultTimeout)
	}
	return nil
}
