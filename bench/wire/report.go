package wire

import "github.com/interlock-authz/interlock/bench/results"

// opaDecision is the processor time of one decision of OPA's own server (v1.22.2, mutual
// TLS, HTTP/1.1, opaConnections connections) on the kind of machine that this is measured
// on, in seconds.
const (
	opaDecision    = 131e-6
	opaConnections = 16
	// netHTTPThen is what a request to net/http alone took on that day.
	netHTTPThen = 18.9e-6
)

// mostOfOPA is the target for a decision compared with OPA's.
const mostOfOPA = 1.0 / 3

// mostOver returns the target for the cost of a request behind Guard, or of one through the
// gateway, compared with one without.
func mostOver(server, protocol string) float64 {
	switch {
	case server == gatewayed:
		return 1.05
	case server == execute:
		return 1.04
	case protocol == HTTP2:
		return 1.10
	}
	return 1.06
}

// report adds the section.
func (g *group) report(sides []*side, o *Options, d *results.Document) {
	section := d.Add(g.name())
	byName := map[string]*side{}
	for _, s := range sides {
		byName[s.name] = s
	}
	for _, s := range sides {
		row := section.Add(s.title).Add(
			&results.Metric{Name: "requests/s", Unit: "1/s", More: true, Samples: s.rate},
			&results.Metric{Name: "p50", Unit: "s", Samples: s.p50},
			&results.Metric{Name: "p99", Unit: "s", Samples: s.p99},
			&results.Metric{Name: "CPU a request", Unit: "s", Samples: s.cpu},
		)
		if other := byName[s.baseline]; other != nil {
			m := &results.Metric{Name: "CPU compared with " + other.title, Samples: ratios(s.cpu, other.cpu)}
			if s.baseline == routed || s.name == gatewayed {
				m.Target = &results.Target{Limit: mostOver(s.name, g.protocol.name)}
			}
			row.Add(m)
		}
		if s.name == evaluations && g.comparesOPA() {
			row.Add(&results.Metric{
				Name: "CPU compared with OPA's 131 µs", Samples: ratios(s.cpu, repeat(opaDecision, len(s.cpu))),
				Target: &results.Target{Limit: mostOfOPA},
			})
		}
	}
	if g.comparesOPA() {
		section.Note("OPA's 131 µs were measured on another day, when net/http took %.1f µs under the same circumstances: "+
			"its row says how fast this machine is compared with that one.", netHTTPThen*1e6)
	}
	section.Note("Rounds: %d, in each of which every server has a turn of %v. CPU is that of the server's process, of user mode and "+
		"kernel, TLS included; the load shares the machine's processors.", o.Rounds, o.Each)
}

// comparesOPA reports whether OPA was measured under the same conditions.
func (g *group) comparesOPA() bool {
	return g.connections == opaConnections && g.protocol.name == HTTP1
}

// ratios compares round by round.
func ratios(ours, theirs []float64) []float64 {
	r := make([]float64, len(ours))
	for i := range ours {
		r[i] = ours[i] / theirs[i]
	}
	return r
}

func repeat(v float64, n int) []float64 {
	all := make([]float64, n)
	for i := range all {
		all[i] = v
	}
	return all
}
