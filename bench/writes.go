package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// duringWrites compares the p99 of one principal's empty operations while 16 callers update
// other principals on disk, with the same in memory.
func duringWrites(ctx context.Context, rounds int, each time.Duration) *outcome {
	const writers = 16
	dir, remove := scratch()
	defer remove()
	onDisk := openStore(dir)
	defer onDisk.close()
	inMemory := must(actors.New(actors.Options{Logger: quiet}))
	defer func() { _ = inMemory.Close(context.Background()) }()
	engines := [2]*actors.Engine{onDisk.Engine, inMemory}
	for _, e := range engines {
		update(e, policy.PutRole(eightPermissions(1).roles[0], ""), regrant(principalNumber(writers), 0))
	}
	var updates atomic.Int64
	p := &pair{name: fmt.Sprintf("p99 of Execute while %d callers change others: on disk, in memory", writers)}
	r := p.compare(ctx, rounds, func(_, side int) float64 {
		ctx, stop := context.WithCancel(ctx)
		var writing sync.WaitGroup
		for n := range writers {
			who := principalNumber(n)
			writing.Go(func() {
				for ctx.Err() == nil {
					update(engines[side], regrant(who, int(updates.Add(1))))
				}
			})
		}
		h := probe(ctx, engines[side], ask(writers), each)
		stop()
		writing.Wait()
		return float64(h.ValueAtQuantile(99))
	})
	r.names = [2]string{"on disk", "in memory"}
	return r
}

// roleChange is what the change of a role came to that many active principals hold.
type roleChange struct {
	quiesced        []float64 // nanoseconds, by round
	alone, meantime *hdrhistogram.Histogram
}

// changeRole changes a role that n active principals hold, in a store on disk, and
// measures one that the update does not concern.
func changeRole(ctx context.Context, n, rounds int) *roleChange {
	dir, remove := scratch()
	defer remove()
	fillStore(ctx, dir, n)
	s := openStore(dir)
	defer s.close()
	other := must(policy.NewRole("other", nil, eightPermissions(1).roles[0].Permissions()))
	s.update(policy.PutRole(other, ""), policy.GrantRole(policy.Grant{Principal: principalNumber(n), Role: "other"}))
	for i := range n + 1 {
		if ctx.Err() != nil {
			return &roleChange{}
		}
		mustDecide(s.Execute(context.Background(), ask(i), nothing))
	}
	c := &roleChange{alone: newHistogram(), meantime: newHistogram()}
	for round := range rounds {
		if ctx.Err() != nil {
			break
		}
		c.alone.Merge(probe(ctx, s.Engine, ask(n), 200*time.Millisecond))
		permissions := eightPermissions(1).roles[0].Permissions()[:7+round%2]
		role := must(policy.NewRole("worker", nil, permissions))
		var over atomic.Bool
		var probing sync.WaitGroup
		var h *hdrhistogram.Histogram
		probing.Go(func() {
			h = probeWhile(ctx, s.Engine, ask(n), func(time.Time) bool { return !over.Load() })
		})
		start := time.Now()
		s.update(policy.PutRole(role, ""))
		c.quiesced = append(c.quiesced, float64(time.Since(start)))
		over.Store(true)
		probing.Wait()
		c.meantime.Merge(h)
	}
	return c
}
