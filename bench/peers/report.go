package main

import (
	"fmt"
	"runtime/debug"

	"github.com/interlock-authz/interlock/bench/results"
)

// report makes the tables.
func (c *comparison) report(command string) *results.Document {
	d := results.New(command)
	c.reportChecks(d)
	c.reportParallel(d)
	c.reportStale(d)
	return d
}

func (c *comparison) reportChecks(d *results.Document) {
	s := d.Add("one check, one goroutine")
	versions := versions()
	for _, o := range c.contestants {
		row := s.Add(o.name, results.Fact{Name: "version", Text: versions[o.module]},
			results.Fact{Name: "what one gives up", Text: o.gives})
		addChecks(row, o.serial)
		row.Add(&results.Metric{Name: "an update", Unit: "s", Samples: o.update})
	}
	s.Note("All hold %d principals with %d of %d roles each and %d permissions a role on prefixes of one to three "+
		"segments, of which one in twenty denies, and gave interlock's answers to all %d queries before they were measured.",
		len(c.world.members), len(c.world.members[0].roles), len(c.world.roles), len(c.world.roles[0].permissions),
		len(c.world.queries))
	s.Note("Each figure was measured %d times for %v, the engines in turn. An update takes a role from a principal "+
		"and gives it back. Its time is not in that of the checks, and has a column of its own, from the runs with %d %%.",
		c.rounds, c.each, shares[len(shares)-1])
	s.Note("interlock Execute runs an empty operation in the turn that checks. All keep everything in memory. " +
		"Casbin compares the action first; OPA has the faster of its stores, and rules indexed by role and action; " +
		"cedar-go has a policy for what a role allows and one for what it denies; OpenFGA and SpiceDB are asked about " +
		"what the resource lies in, and cache no answers. All answers of Casbin SyncedCachedEnforcer are from its cache.")
}

func (c *comparison) reportParallel(d *results.Document) {
	s := d.Add("one check, two goroutines")
	for _, o := range c.contestants {
		if !o.single {
			addChecks(s.Add(o.name), o.parallel)
		}
	}
	s.Note("The time of a check as its caller sees it; in that time the other caller has done one as well.")
}

// addChecks adds a metric for each share of updates.
func addChecks(row *results.Row, samples map[int][]float64) {
	for _, share := range shares {
		row.Add(&results.Metric{Name: fmt.Sprintf("%d %% updates", share), Unit: "s", Samples: samples[share]})
	}
}

func (c *comparison) reportStale(d *results.Document) {
	s := d.Add("uses after a revocation")
	for _, o := range c.contestants {
		if o.single {
			continue
		}
		began := &results.Metric{Name: "began after, each revocation", Samples: o.began}
		running := &results.Metric{Name: "still ran, each revocation", Samples: o.running}
		if o.atomic {
			began.Target, running.Target = &results.Target{}, &results.Target{}
		}
		s.Add(o.name,
			results.Fact{Name: "revocations", Text: fmt.Sprint(o.stale.revocations)},
			results.Fact{Name: "uses that began after", Text: fmt.Sprint(o.stale.began)},
			results.Fact{Name: "uses that still ran", Text: fmt.Sprint(o.stale.running)},
		).Add(began, running)
	}
	s.Note("A caller checks and, if allowed, works for %v; an updater revokes, waits %v, grants, and waits as long. "+
		"A use began after if it did so between the acknowledgment of a revocation and the sending of the next grant, "+
		"and still ran if it began before the acknowledgment and ended after it.", usesLast, dwell)
	s.Note("interlock Execute checks and uses in one; the others check first and act on the answer, as their " +
		"documentation shows it.")
}

// versions are those of the modules that this program is built of.
func versions() map[string]string {
	known := map[string]string{interlockModule: "this commit"}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if known[m.Path] == "" {
				known[m.Path] = m.Version
			}
		}
	}
	return known
}
