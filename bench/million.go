package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// scale is what many principals cost.
type scale struct {
	principals  int
	idle        int64         // bytes per principal that is granted and not in memory
	active      int64         // bytes more per principal that is
	first       time.Duration // from the start of the engine to its first decision
	activations float64       // a second, by one caller
}

// measureScale grants a role to n principals, starts the engine, and activates all of them unless ctx ends.
func measureScale(ctx context.Context, n int) (s scale, err error) {
	s.principals = n
	w := eightPermissions(1)
	names := make([]policy.Principal, n)
	grants := make([]policy.Grant, n)
	before := heap()
	for i := range names {
		names[i] = principalNumber(i)
		grants[i] = policy.Grant{Principal: names[i], Role: "worker"}
	}
	log, err := oplog.NewMemoryWith(w.roles, grants)
	if err != nil {
		return s, err
	}
	grants = nil
	s.idle = (heap() - before) / int64(n)
	ask := func(e *actors.Engine, who policy.Principal) error {
		return e.Execute(context.Background(), actors.Request{Principal: who, Action: "orders:do3", Resource: "orders/area-3/42"}, nothing)
	}
	start := time.Now()
	e, err := actors.New(actors.Options{Log: log, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return s, err
	}
	defer func() { err = e.Close(context.Background()) }()
	if err := ask(e, names[n/2]); err != nil {
		return s, err
	}
	s.first = time.Since(start)
	idle := heap()
	start = time.Now()
	for _, who := range names {
		if err := errors.Join(ctx.Err(), ask(e, who)); err != nil {
			return s, err
		}
	}
	s.activations = float64(n) / time.Since(start).Seconds()
	s.active = (heap() - idle) / int64(n)
	runtime.KeepAlive(grants)
	return s, nil
}

// measureRoles returns the bytes that the compiled form of n roles takes.
func measureRoles(n int) int64 {
	roles := make([]*policy.Role, n)
	for i := range roles {
		roles[i] = must(policy.NewRole(fmt.Sprintf("role-%d", i), nil,
			[]policy.Permission{permissionOf(fmt.Sprintf("api:do%d", i%100), fmt.Sprintf("orders/area-%d/**", i))}))
	}
	before := heap()
	table := must(policy.NewTable(1, roles, nil))
	after := heap()
	runtime.KeepAlive(table)
	runtime.KeepAlive(roles)
	return after - before
}

// heap returns the bytes that are in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
