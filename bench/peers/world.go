package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/interlock-authz/interlock/actors/policy"
)

// actions that a permission can be about; the models spell them out.
var actions = []string{"read", "write", "list", "delete"}

// world is the policy that every engine is given, with the queries that are put to it.
type world struct {
	roles   []role
	members []member
	queries []query
}

type role struct {
	name        string
	permissions []permission
}

// permission allows or denies an action on a container and all that lies below it.
type permission struct {
	deny   bool
	action string
	prefix string // one to three segments, such as area-3/unit-1
}

// member is a principal with its roles.
type member struct {
	who   policy.Principal
	roles []string
}

// query asks whether the principal may do the action on the resource, of four segments.
type query struct {
	who      policy.Principal
	action   string
	resource string
}

func (q query) String() string { return fmt.Sprintf("may %s %s %s?", q.who, q.action, q.resource) }

// size of a world.
type size struct{ members, roles, each, permissions, queries int }

var full = size{members: 1000, roles: 50, each: 3, permissions: 20, queries: 10_000}

// newWorld draws a world: always the same one for a size. About half of its queries are
// allowed, and one permission in twenty denies.
func newWorld(s size) *world {
	rng := rand.New(rand.NewPCG(1, 2))
	w := &world{}
	for r := range s.roles {
		w.roles = append(w.roles, role{fmt.Sprintf("role-%d", r), drawPermissions(rng, s.permissions)})
	}
	for i := range s.members {
		m := member{who: policy.MustPrincipal(fmt.Sprintf("user:%d", i))}
		for _, r := range rng.Perm(s.roles)[:s.each] {
			m.roles = append(m.roles, w.roles[r].name)
		}
		w.members = append(w.members, m)
	}
	for range s.queries {
		w.queries = append(w.queries, w.drawQuery(rng))
	}
	return w
}

// drawResource draws one of 320,000 resources.
func drawResource(rng *rand.Rand) string {
	return fmt.Sprintf("area-%d/unit-%d/shelf-%d/item-%d", rng.IntN(20), rng.IntN(4), rng.IntN(4), rng.IntN(1000))
}

// drawPermissions draws distinct ones, since some engines refuse to be told twice.
func drawPermissions(rng *rand.Rand, n int) []permission {
	var drawn []permission
	for len(drawn) < n {
		segments := strings.Split(drawResource(rng), "/")[:1+rng.IntN(3)]
		p := permission{
			deny: rng.IntN(20) == 0, action: actions[rng.IntN(len(actions))], prefix: strings.Join(segments, "/"),
		}
		if !slices.Contains(drawn, p) {
			drawn = append(drawn, p)
		}
	}
	return drawn
}

// drawQuery draws, every other time, a query that a permission of the principal matches.
func (w *world) drawQuery(rng *rand.Rand) query {
	m := w.members[rng.IntN(len(w.members))]
	q := query{who: m.who, action: actions[rng.IntN(len(actions))], resource: drawResource(rng)}
	if rng.IntN(2) == 0 {
		r := w.role(m.roles[rng.IntN(len(m.roles))])
		p := r.permissions[rng.IntN(len(r.permissions))]
		rest := strings.SplitN(q.resource, "/", strings.Count(p.prefix, "/")+2)
		q.action, q.resource = p.action, p.prefix+"/"+rest[len(rest)-1]
	}
	return q
}

func (w *world) role(name string) role {
	return w.roles[slices.IndexFunc(w.roles, func(r role) bool { return r.name == name })]
}

func (w *world) member(who policy.Principal) member {
	return w.members[slices.IndexFunc(w.members, func(m member) bool { return m.who == who })]
}

// container is the resource that this one lies in directly, empty for none.
func container(resource string) string {
	return resource[:max(0, strings.LastIndexByte(resource, '/'))]
}

// containers are all containers that a permission of a role can name, and their ancestors, in
// a fixed order. Some engines need to know this hierarchy.
func (w *world) containers() []string {
	var all []string
	for _, r := range w.roles {
		for _, p := range r.permissions {
			all = append(all, p.prefix)
		}
	}
	for _, q := range w.queries {
		all = append(all, container(q.resource))
	}
	for i := 0; i < len(all); i++ {
		if c := container(all[i]); c != "" {
			all = append(all, c)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// must is for what can fail only if this program is wrong.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
