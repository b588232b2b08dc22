package journal_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// cast is who and what random policies are about. A record of it that is lost would allow
// something: there are roles that deny next to patterns that allow, and revoked
// certificates.
type cast struct {
	principals  []policy.Principal
	everybody   []policy.Principal // the extras of large updates too
	credentials []*actors.Credential
	questions   [][2]string
	roleNames   []string
	patterns    []policy.PrincipalPattern
	within      []policy.ResourcePattern
}

var theCast = newCast()

func newCast() *cast {
	c := &cast{roleNames: []string{"reader", "writer", "owner", "frozen", "lead", "spare"}}
	for i := range 10 {
		who := policy.MustPrincipal(fmt.Sprintf("user:team%d/p%d", i%3, i))
		c.principals = append(c.principals, who)
		fingerprint, issuer := sha256.Sum256([]byte(who.String())), sha256.Sum256([]byte("issuer"))
		c.credentials = append(c.credentials, actors.NewCredential(fingerprint, issuer, fmt.Sprintf("a%d", i),
			time.Unix(0, 0), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)))
	}
	c.everybody = append(c.everybody, c.principals...)
	for i := range 12 {
		c.everybody = append(c.everybody, policy.MustPrincipal(fmt.Sprintf("user:extra/e%d", i)))
	}
	for _, action := range []string{"orders:read", "orders:write"} {
		for _, resource := range []string{"orders/eu/1", "orders/us/2", "ledger/3"} {
			c.questions = append(c.questions, [2]string{action, resource})
		}
	}
	for _, text := range []string{"user:**", "user:team0/*", "user:team1/*", "user:team2/**"} {
		p, err := policy.ParsePrincipalPattern(text)
		c.patterns = append(c.patterns, must(p, err))
	}
	for _, text := range []string{"orders/eu/**", "orders/us/**", "orders/**", "ledger/*"} {
		w, err := policy.ParseResourcePattern(text)
		c.within = append(c.within, must(w, err))
	}
	return c
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// role draws a definition of one of the roles. The frozen ones deny.
func (c *cast) role(rng *rand.Rand, name string) *policy.Role {
	var spec policy.RoleSpec
	actions := [][]string{{"orders:read"}, {"orders:write"}, {"orders:*"}}
	for range 1 + rng.IntN(3) {
		p := policy.PermissionSpec{Actions: actions[rng.IntN(3)], Resources: []string{c.within[rng.IntN(len(c.within))].String()}}
		if name == "frozen" || rng.IntN(6) == 0 {
			p.Effect = "deny"
		}
		spec.Permissions = append(spec.Permissions, p)
	}
	if name == "lead" {
		spec.Inherits = []string{"reader"}
	}
	return must(spec.Role(name))
}

// first are the changes by which every random policy begins.
func (c *cast) first(rng *rand.Rand) []policy.Change {
	var changes []policy.Change
	for _, name := range c.roleNames {
		changes = append(changes, policy.PutRole(c.role(rng, name), ""))
	}
	return append(changes,
		policy.GrantRole(policy.Grant{Principals: c.patterns[0], Role: "owner"}),
		policy.GrantRole(policy.Grant{Principal: c.principals[0], Role: "frozen"}))
}

// change draws a change. It may be one that will be refused.
func (c *cast) change(rng *rand.Rand, reason string) policy.Change {
	g := policy.Grant{Principal: c.principals[rng.IntN(len(c.principals))], Role: c.roleNames[rng.IntN(len(c.roleNames))], Reason: reason}
	switch rng.IntN(3) {
	case 0:
		g.Within = []policy.ResourcePattern{c.within[rng.IntN(len(c.within))]}
	case 1:
		g.Expires = time.Date(2100, 1, 1+rng.IntN(28), 0, 0, 0, 0, time.UTC)
	}
	switch n := rng.IntN(100); {
	case n < 40:
		return policy.GrantRole(g)
	case n < 60:
		g.Expires = time.Time{}
		return policy.RevokeRole(g)
	case n < 72:
		g.Principal, g.Principals = policy.Principal{}, c.patterns[rng.IntN(len(c.patterns))]
		return policy.GrantRole(g)
	case n < 82:
		g.Principal, g.Principals, g.Expires = policy.Principal{}, c.patterns[rng.IntN(len(c.patterns))], time.Time{}
		return policy.RevokeRole(g)
	case n < 92:
		return policy.PutRole(c.role(rng, g.Role), reason)
	case n < 96:
		return policy.DeleteRole(g.Role, reason)
	}
	ids := c.credentials[rng.IntN(len(c.credentials))].IDs()
	id := ids[rng.IntN(len(ids))]
	if rng.IntN(3) == 0 {
		return policy.UnrevokeCertificate(id, reason)
	}
	return policy.RevokeCertificate(id, reason)
}

// changes draws what an update asks for: mostly a change or two, and at times more than an
// entry of the log holds itself.
func (c *cast) changes(rng *rand.Rand, reason string) []policy.Change {
	n := 1
	switch m := rng.IntN(100); {
	case m == 0:
		return c.large(rng, reason)
	case m < 20:
		n = 2 + rng.IntN(6)
	}
	list := make([]policy.Change, n)
	for i := range list {
		list[i] = c.change(rng, reason)
	}
	return list
}

// large draws an update in chunks, that leaves few grants.
func (c *cast) large(rng *rand.Rand, reason string) []policy.Change {
	list := make([]policy.Change, actors.MaxListed+1+rng.IntN(200))
	for i := range list {
		g := policy.Grant{Principal: c.everybody[(i/2)%len(c.everybody)], Role: "reader", Reason: reason}
		if list[i] = policy.GrantRole(g); i%2 == 1 && rng.IntN(20) > 0 {
			list[i] = policy.RevokeRole(g)
		}
	}
	return list
}

// strangers are grants to so many others behind each principal of the cast, of some size.
func (c *cast) strangers(each int) (changes []policy.Change) {
	for _, p := range c.principals {
		for n := range each {
			who := policy.MustPrincipal(fmt.Sprintf("%s-%02d", p, n))
			changes = append(changes, policy.GrantRole(policy.Grant{Principal: who, Role: "lead", Reason: strings.Repeat("x", 300)}))
		}
	}
	return changes
}
