package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/bench/results"
)

// stormSize is the policy at the start of a storm.
type stormSize struct{ roles, permissions int }

func (s stormSize) String() string {
	return fmt.Sprintf("%d roles, %d permissions", s.roles, s.permissions)
}

const (
	stormUpdates = 3600
	stormHolders = 100
	// medianSize is the median number of permissions of a role. The mean follows from the
	// policy. Roles of largeSize have a third of all permissions.
	medianSize = 12
	largeSize  = 2000
)

// stormCost is what the updates of a storm came to, by round.
type stormCost struct {
	p50     []float64 // nanoseconds
	growth  []float64 // the median of the last tenth of the updates, compared with the first
	garbage []float64 // bytes, for a role of 20 permissions
}

// storm puts roles of many sizes into a large policy, one after the other, and grants and
// revokes in between, while a caller works.
func storm(ctx context.Context, size stormSize, rounds int) *stormCost {
	c := &stormCost{}
	for round := range rounds {
		if ctx.Err() != nil {
			break
		}
		c.run(ctx, size, uint64(round))
	}
	return c
}

// run is one round.
func (c *stormCost) run(ctx context.Context, size stormSize, seed uint64) {
	g := newStormGenerator(size, seed)
	w := g.world()
	updates := g.updates()
	e := w.engine()
	defer func() { _ = e.Close(background) }()
	whole := ctx
	ctx, stop := context.WithCancel(ctx)
	var caller sync.WaitGroup
	caller.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			mustDecide(e.Execute(background, w.queries[i%len(w.queries)], nothing))
		}
	})
	var took []float64
	for _, changes := range updates {
		if whole.Err() != nil {
			break
		}
		start := time.Now()
		update(e, changes...)
		took = append(took, nanosecondsSince(start))
	}
	stop()
	caller.Wait()
	if whole.Err() != nil {
		return
	}
	tenth := len(took) / 10
	c.growth = append(c.growth, median(took[len(took)-tenth:])/median(took[:tenth]))
	c.p50 = append(c.p50, median(took))
	c.garbage = append(c.garbage, g.garbage(e))
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// addTo adds the row of a size to a table.
func (c *stormCost) addTo(s *results.Section, size stormSize) {
	most := 2.0
	if size.permissions > 100_000 {
		most = 3
	}
	p50, garbage := seconds("an update, p50", c.p50), &results.Metric{Name: "garbage, role of 20", Unit: "B", Samples: c.garbage}
	if size.permissions <= 100_000 {
		p50, garbage = atMost(1e-3, p50), atMost(64<<10, garbage)
	}
	s.Add(size.String()).Add(p50,
		atMost(most, &results.Metric{Name: "the last tenth, compared with the first", Samples: c.growth}), garbage)
}

// stormGenerator makes a policy and its updates, the same for the same seed.
type stormGenerator struct {
	rng  *rand.Rand
	size stormSize
}

func newStormGenerator(size stormSize, seed uint64) *stormGenerator {
	return &stormGenerator{rng: rand.New(rand.NewPCG(1, seed)), size: size}
}

// permissions returns how many permissions a role has. The sizes have a lognormal
// distribution, apart from the few that are large.
func (g *stormGenerator) permissions() int {
	mean := float64(g.size.permissions) / float64(g.size.roles)
	if g.rng.Float64() < mean/3/largeSize {
		return largeSize
	}
	sigma := math.Sqrt(2 * math.Log(max(mean*2/3/medianSize, 1)))
	return min(max(1, int(medianSize*math.Exp(sigma*g.rng.NormFloat64()))), largeSize)
}

func (g *stormGenerator) role(n, permissions int) *policy.Role {
	list := make([]policy.Permission, permissions)
	for i := range list {
		list[i] = permissionOf(fmt.Sprintf("api:do%d", g.rng.IntN(4)), g.resource(1+g.rng.IntN(3))+"/**")
	}
	return must(policy.NewRole(fmt.Sprintf("role-%d", n), nil, list))
}

// resource returns a name of so many segments.
func (g *stormGenerator) resource(segments int) string {
	all := []string{
		fmt.Sprintf("area-%d", g.rng.IntN(max(20, g.size.permissions/50))), fmt.Sprintf("unit-%d", g.rng.IntN(4)),
		fmt.Sprintf("shelf-%d", g.rng.IntN(4)), fmt.Sprintf("item-%d", g.rng.IntN(1000)),
	}
	return strings.Join(all[:segments], "/")
}

func (g *stormGenerator) world() *world {
	w := &world{}
	for n := range g.size.roles {
		w.roles = append(w.roles, g.role(n, g.permissions()))
	}
	for i := range stormHolders {
		w.grants = append(w.grants, g.grant(i))
	}
	for range 4096 {
		w.queries = append(w.queries, actors.Request{
			Principal: principalNumber(g.rng.IntN(stormHolders)), Action: fmt.Sprintf("api:do%d", g.rng.IntN(4)), Resource: g.resource(4),
		})
	}
	return w
}

func (g *stormGenerator) grant(holder int) policy.Grant {
	return policy.Grant{Principal: principalNumber(holder), Role: fmt.Sprintf("role-%d", g.rng.IntN(g.size.roles))}
}

// updates returns the changes of each update: a role, and in every tenth also a grant that
// comes, or the last one that came and goes.
func (g *stormGenerator) updates() [][]policy.Change {
	all := make([][]policy.Change, stormUpdates)
	var last *policy.Grant
	for i := range all {
		n := g.rng.IntN(g.size.roles)
		all[i] = []policy.Change{policy.PutRole(g.role(n, g.permissions()), "")}
		if i%10 != 0 {
			continue
		}
		if last != nil {
			all[i] = append(all[i], policy.RevokeRole(*last))
			last = nil
			continue
		}
		grant := g.grant(g.rng.IntN(stormHolders))
		last = &grant
		all[i] = append(all[i], policy.GrantRole(grant))
	}
	return all
}

// garbage returns the bytes that an update allocates for a role of 20 permissions which
// replace 20 others.
func (g *stormGenerator) garbage(e *actors.Engine) float64 {
	const updates = 200
	var roles [2]*policy.Role
	for i := range roles {
		roles[i] = g.role(0, 20)
	}
	update(e, policy.PutRole(roles[1], ""))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range updates {
		update(e, policy.PutRole(roles[i%2], ""))
	}
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc-before.TotalAlloc) / updates
}
