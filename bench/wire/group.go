package wire

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/interlock-authz/interlock/bench/results"
)

// group is measured in turn, so that what slows the machine down slows all of it down.
type group struct {
	protocol    *protocol
	connections int
	servers     []*server
}

func (g *group) name() string {
	return fmt.Sprintf("On the wire: %s, %d connections", g.protocol.title, g.connections)
}

// choose takes the servers whose rows match, and what they are compared with.
func (g *group) choose(only *regexp.Regexp) {
	chosen := map[string]bool{}
	for _, s := range servers {
		if only.MatchString(g.name() + ", " + s.title) {
			chosen[s.name] = true
			chosen[s.baseline] = true
		}
	}
	for _, s := range servers {
		if chosen[s.name] && s.isMeasured(only.String()) {
			g.servers = append(g.servers, s)
		}
	}
}

// measure starts the servers, lets each have its turns and ends them.
func (g *group) measure(ctx context.Context, at *site, o *Options, d *results.Document) (err error) {
	var sides []*side
	defer func() { err = errors.Join(err, closeAll(sides)) }()
	for _, s := range g.servers {
		c, err := startChild(ctx, s.name, at.dir, o.Child)
		if err != nil {
			return err
		}
		one := &side{server: s, child: c}
		sides = append(sides, one)
		if err := one.connect(ctx, g.protocol, at, g.connections); err != nil {
			return err
		}
	}
	if err := g.rounds(ctx, sides, o); err != nil {
		return err
	}
	g.report(sides, o, d)
	return nil
}

// rounds gives each side a turn in each round, and one before that counts for nothing.
// The order changes from round to round.
func (g *group) rounds(ctx context.Context, sides []*side, o *Options) error {
	order := slices.Clone(sides)
	for round := range o.Rounds + 1 {
		for _, s := range order {
			if err := s.measure(ctx, o.Each); err != nil {
				return fmt.Errorf("%s, %w", g.name(), err)
			}
			if round == 0 {
				s.figures = figures{}
			}
		}
		slices.Reverse(order)
		if round > 0 {
			fmt.Fprintf(o.Progress, "%s: round %d of %d\n", g.name(), round, o.Rounds)
		}
	}
	return nil
}
