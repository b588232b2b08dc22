package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// fillStore makes a store in which n principals have a role, fewer if ctx ends.
func fillStore(ctx context.Context, dir string, n int) {
	s := openStore(dir)
	defer s.close()
	s.update(policy.PutRole(eightPermissions(1).roles[0], ""))
	const each = 50_000
	for from := 0; from < n && ctx.Err() == nil; from += each {
		changes := make([]policy.Change, 0, each)
		for i := from; i < min(n, from+each); i++ {
			changes = append(changes, regrant(principalNumber(i), 0))
		}
		s.update(changes...)
	}
}

// firstDecision is the time from the start on a store that is closed to the first decision
// on one of its principals.
func firstDecision(dir string, principal int) time.Duration {
	start := time.Now()
	s := openStore(dir)
	d, err := s.Decide(context.Background(), ask(principal))
	taken := time.Since(start)
	s.close()
	if err != nil || !d.Allowed {
		panic(fmt.Sprintf("%+v, %v", d, err))
	}
	return taken
}

func ask(principal int) actors.Request {
	return actors.Request{Principal: principalNumber(principal), Action: "orders:do3", Resource: "orders/area-3/42"}
}

// restart compares the first decision after a start with a million principals in the
// store with that with a thousand.
func restart(ctx context.Context, rounds int) *outcome {
	sizes := [2]int{1_000_000, 1_000}
	var dirs [2]string
	for i, n := range sizes {
		dir, remove := scratch()
		defer remove()
		fillStore(ctx, dir, n)
		dirs[i] = dir
	}
	p := &pair{name: "start and first decision, 1,000,000 principals compared with 1,000", target: 1.5}
	r := p.compare(ctx, rounds, func(round, side int) float64 {
		return float64(firstDecision(dirs[side], round*37%sizes[side]))
	})
	r.names = [2]string{"1,000,000", "1,000"}
	return r
}
