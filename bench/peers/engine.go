package main

import (
	"regexp"

	"github.com/interlock-authz/interlock/actors/policy"
)

// engine is an authorization engine that holds a world.
type engine interface {
	Name() string
	// Check answers the query.
	Check(q query) (bool, error)
	// Revoke takes a role from a principal, and Grant gives it back, in the way that the
	// engine's documentation says. They have been acknowledged when they return.
	Revoke(who policy.Principal, role string) error
	Grant(who policy.Principal, role string) error
	Close()
}

// user is an engine that checks and uses in one: use runs if the query is allowed.
type user interface {
	Use(q query, use func()) error
}

// use runs use if the query is allowed: in one if the engine can, and else by checking
// first and then acting on the answer, as the documentation of all others shows it.
func use(e engine, q query, use func()) error {
	if u, ok := e.(user); ok {
		return u.Use(q, use)
	}
	allowed, err := e.Check(q)
	if err == nil && allowed {
		use()
	}
	return err
}

// peer is an engine that can be started, and what is known of it beforehand.
type peer struct {
	name   string
	module string // of which the version is told
	gives  string // what one gives up with it
	start  func(w *world) (engine, error)
	// single means that it is not safe for concurrent use, cached that its answers may
	// be those of before the last update, atomic that no use can outlast its permission.
	single, cached, atomic bool
}

const (
	answersOnly     = "answers only: the use comes after"
	casbinModule    = "github.com/casbin/casbin/v2"
	interlockModule = "github.com/interlock-authz/interlock"
)

// peers are all that are compared, in the order of the table.
func peers() []peer {
	return []peer{
		{name: "interlock Execute", module: interlockModule, start: newExecute, atomic: true,
			gives: "a principal's operations run one after another"},
		{name: "interlock Decide", module: interlockModule, start: newDecide, gives: answersOnly},
		{name: "Casbin Enforcer", module: casbinModule, start: newEnforcer, single: true,
			gives: "answers only; not safe for concurrent use"},
		{name: "Casbin SyncedEnforcer", module: casbinModule, start: newSynced, gives: answersOnly + "; one lock for all"},
		{name: "Casbin SyncedCachedEnforcer", module: casbinModule, start: newSyncedCached, cached: true,
			gives: "answers only; its cache stays stale after a change of roles"},
		{name: "OPA", module: "github.com/open-policy-agent/opa", start: newOPA, gives: answersOnly},
		{name: "cedar-go", module: "github.com/cedar-policy/cedar-go", start: newCedar,
			gives: answersOnly + "; keeping the entities is the caller's"},
		{name: "OpenFGA", module: "github.com/openfga/openfga", start: newOpenFGA,
			gives: answersOnly + "; its memory store reads through all tuples"},
		{name: "SpiceDB", module: "github.com/authzed/spicedb", start: newSpiceDB,
			gives: answersOnly + "; gRPC within the process"},
	}
}

// matching are the peers whose name the pattern matches.
func matching(pattern *regexp.Regexp) []peer {
	var chosen []peer
	for _, p := range peers() {
		if pattern.MatchString(p.name) {
			chosen = append(chosen, p)
		}
	}
	return chosen
}
