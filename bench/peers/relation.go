package main

import "strings"

// relation is a fact as the engines keep it that follow relations between objects.
type relation struct {
	objectType, object string
	name               string
	subjectType        string
	subject            string
	of                 string // the subject is all that are related so to it; empty for itself
}

// relations are the world as such facts: members of roles, what roles are allowed and
// denied on nodes, and which node lies in which. A resource is no node of its own, and its
// container is asked about instead: no permission is about a single resource, and both
// engines' memory stores look at all relations of a kind to find one.
func (w *world) relations() []relation {
	var all []relation
	for _, m := range w.members {
		for _, r := range m.roles {
			all = append(all, memberOf(idOf(m.who.String()), r))
		}
	}
	for _, r := range w.roles {
		for _, p := range r.permissions {
			name := "allows_" + p.action
			if p.deny {
				name = "denies_" + p.action
			}
			all = append(all, relation{"node", p.prefix, name, "role", r.name, "member"})
		}
	}
	for _, c := range w.containers() {
		if in := container(c); in != "" {
			all = append(all, relation{
				objectType: "node", object: c, name: "parent", subjectType: "node", subject: in,
			})
		}
	}
	return all
}

func memberOf(user, role string) relation {
	return relation{objectType: "role", object: role, name: "member", subjectType: "user", subject: user}
}

// idOf is the principal without its kind, for neither engine allows a colon in an object's
// name.
func idOf(who string) string { return strings.TrimPrefix(who, "user:") }
