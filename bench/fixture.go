package bench

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// world is a policy with the queries that are put to it.
type world struct {
	roles   []*policy.Role
	grants  []policy.Grant
	queries []actors.Request

	authorities *authorities // once it is compiled
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func principalNumber(i int) policy.Principal {
	return policy.MustPrincipal(fmt.Sprintf("spiffe://bench.test/ns/team-%d/sa/%d", i%97, i))
}

func permissionOf(action, resource string) policy.Permission {
	return policy.Permission{
		Actions:   []policy.ActionPattern{must(policy.ParseActionPattern(action))},
		Resources: []policy.ResourcePattern{must(policy.ParseResourcePattern(resource))},
	}
}

// eightPermissions gives each of n principals a role of eight permissions, of which one
// is asked for.
func eightPermissions(n int) *world {
	w := &world{}
	permissions := make([]policy.Permission, 8)
	for i := range permissions {
		permissions[i] = permissionOf(fmt.Sprintf("orders:do%d", i), fmt.Sprintf("orders/area-%d/**", i))
	}
	w.roles = []*policy.Role{must(policy.NewRole("worker", nil, permissions))}
	for i := range n {
		who := principalNumber(i)
		w.grants = append(w.grants, policy.Grant{Principal: who, Role: "worker"})
		w.queries = append(w.queries, actors.Request{Principal: who, Action: "orders:do3", Resource: "orders/area-3/42"})
	}
	return w
}

// denied is eightPermissions with requests that no permission allows.
func denied(n int) *world {
	w := eightPermissions(n)
	for i := range w.queries {
		w.queries[i].Resource = "orders/area-4/42"
	}
	return w
}

// random is a policy of prefix patterns, one to three segments of names of four: n
// principals with a number of roles each, of so many permissions, of which one in twenty
// denies; and queries of which about half are allowed.
func random(n, roles, perRole, each int) *world {
	rng := rand.New(rand.NewPCG(1, 2))
	w := &world{}
	areas := max(20, roles*perRole/50)
	name := func() string {
		return fmt.Sprintf("area-%d/unit-%d/shelf-%d/item-%d", rng.IntN(areas), rng.IntN(4), rng.IntN(4), rng.IntN(1000))
	}
	for r := range roles {
		permissions := make([]policy.Permission, perRole)
		for i := range permissions {
			segments := strings.SplitAfter(name(), "/")[:1+rng.IntN(3)]
			permissions[i] = permissionOf(fmt.Sprintf("api:do%d", rng.IntN(4)), strings.Join(segments, "")+"**")
			if rng.IntN(20) == 0 {
				permissions[i].Effect = policy.Deny
			}
		}
		w.roles = append(w.roles, must(policy.NewRole(fmt.Sprintf("role-%d", r), nil, permissions)))
	}
	held := make([][]int, n)
	for i := range n {
		held[i] = rng.Perm(roles)[:each]
		for _, r := range held[i] {
			w.grants = append(w.grants, policy.Grant{Principal: principalNumber(i), Role: fmt.Sprintf("role-%d", r)})
		}
	}
	for range 4096 {
		i := rng.IntN(n)
		q := actors.Request{Principal: principalNumber(i), Action: fmt.Sprintf("api:do%d", rng.IntN(4)), Resource: name()}
		if rng.IntN(2) == 0 { // one that a permission of its roles matches
			p := w.roles[held[i][rng.IntN(each)]].Permissions()[rng.IntN(perRole)]
			prefix := strings.TrimSuffix(p.Resources[0].String(), "**")
			q.Action = p.Actions[0].String()
			q.Resource = prefix + strings.Join(strings.SplitAfter(name(), "/")[strings.Count(prefix, "/"):], "")
		}
		w.queries = append(w.queries, q)
	}
	return w
}

// engine starts an engine on the world; the caller closes it.
func (w *world) engine() *actors.Engine { return w.observedEngine(nil) }

// observedEngine is engine with an observer; nil for none.
func (w *world) observedEngine(o actors.Observer) *actors.Engine {
	m := must(oplog.NewMemoryWith(w.roles, w.grants))
	return must(actors.New(actors.Options{Log: m, Observer: o, Logger: slog.New(slog.DiscardHandler)}))
}

// table compiles the world and each principal's holdings, for strategies that decide without
// the engine.
func (w *world) table() (*policy.Table, map[policy.Principal]*policy.Effective) {
	t := must(policy.NewTable(1, w.roles, nil))
	records := map[policy.Principal]*policy.Record{}
	for _, g := range w.grants {
		if records[g.Principal] == nil {
			records[g.Principal] = &policy.Record{}
		}
		records[g.Principal].Grants = append(records[g.Principal].Grants, g)
	}
	shared := map[string]*policy.Effective{}
	held := map[policy.Principal]*policy.Effective{}
	for who, r := range records {
		h := t.Hold(who, r, 0)
		if shared[h.Key] == nil {
			shared[h.Key] = t.Compile(h)
		}
		held[who] = shared[h.Key]
	}
	return t, held
}

func nothing(context.Context) error { return nil }
