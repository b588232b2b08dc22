package policy

import (
	"fmt"
	"time"
)

// Query asks whether the principal may do the action on the resource.
type Query struct {
	Principal Principal
	Action    string
	Resource  string
	// Properties are for conditions; nil for none.
	Properties *Properties
	// Now is called at most once, when a condition uses now. If it is nil, now is the zero
	// time.
	Now func() time.Time
}

// Reason is why a decision is as it is.
type Reason uint8

// The reasons. All but ReasonAllowed deny.
const (
	ReasonUnset             Reason = iota // no decision was made
	ReasonAllowed                         // a permission allows it
	ReasonNoPermission                    // no permission of the principal allows it
	ReasonDeniedByRule                    // a permission with effect deny matches
	ReasonConditionError                  // a condition could not be evaluated
	ReasonUnknownPrincipal                // the principal holds no grant
	ReasonUnknownAction                   // no role names the action
	ReasonMalformed                       // the request's action or resource is malformed
	ReasonCredentialExpired               // the credential is past its validity
	ReasonCredentialRevoked               // the credential was revoked
	ReasonOverloaded                      // too many requests wait for the principal
	ReasonClosed                          // the engine is shutting down
	ReasonFault                           // the engine failed to decide
	ReasonFenced                          // the engine cannot tell what other engines on its log have agreed on
)

var reasonNames = [...]string{
	"unset", "allowed", "no-permission", "denied-by-rule", "condition-error", "unknown-principal",
	"unknown-action", "malformed-request", "credential-expired", "credential-revoked", "overloaded",
	"closed", "fault", "fenced",
}

// String returns the reason as it appears in logs and answers, such as "no-permission".
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// MarshalText implements [encoding.TextMarshaler].
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Decision is the answer to a query. Its zero value denies. It refers to immutable parts
// of the policy that it was made by, so [Decision.Explain] can be called at any time. A
// decision with [ReasonConditionError] refers to the query's properties too.
type Decision struct {
	Allowed bool
	Reason  Reason
	// Revision is the revision of the policy that decided.
	Revision uint64
	// Time is when it was decided, by the engine's published clock, in nanoseconds of Unix
	// time.
	Time int64

	role   int32
	effect Effect     // of the permission that decided
	when   *Condition // of the permission that decided, nil if it has none
	table  *Table
	record *Record
	who    Principal
	action string
	what   string // the resource
	failed *Query // whose condition could not be evaluated, without Now; else nil
}

// Verdict is an answer without the parts of an explanation. Its zero value denies.
// [Table.FillDecision] makes a decision of it.
type Verdict struct {
	reason      Reason
	conditional bool
	effect      Effect // of the permission that decided
	role        int32
	when        *Condition // of the permission that decided, nil if it has none
}

// Conditional reports whether a condition was evaluated.
func (v Verdict) Conditional() bool { return v.conditional }

// Allowed reports whether the verdict allows.
func (v Verdict) Allowed() bool { return v.reason == ReasonAllowed }

// Reason returns why the verdict is as it is.
func (v Verdict) Reason() Reason { return v.reason }

// Refuse returns a verdict that does not depend on the policy.
func Refuse(reason Reason) Verdict { return Verdict{reason: reason} }

// Decide answers the query for the holder of e.
func (t *Table) Decide(e *Effective, q *Query) (d Decision) {
	t.FillDecision(&d, t.Judge(e, q), q)
	return d
}

// FillDecision writes the decision of a verdict on the query to d, which is zero.
// [Decision.AttachRecord] sets its time. It writes each field in place, because a denied
// request pays for a copy of the whole.
func (t *Table) FillDecision(d *Decision, v Verdict, q *Query) {
	d.Allowed, d.Reason, d.Revision = v.Allowed(), v.reason, t.revision
	d.role, d.effect, d.when, d.table = v.role, v.effect, v.when, t
	d.who, d.action, d.what = q.Principal, q.Action, q.Resource
	if v.reason == ReasonConditionError {
		failed := *q
		failed.Now = nil // the explanation uses the decision's time
		d.failed = &failed
	}
}

// Judge answers the query for the holder of e. It allocates nothing unless a condition has
// to be evaluated, more than eight pairs of patterns match, or the resource has odd segments.
func (t *Table) Judge(e *Effective, q *Query) Verdict {
	var found matches
	v := t.match(e, q.Action, q.Resource, &found)
	if v.conditional {
		v = t.decideConditions(e, q, &found, v)
		v.conditional = true
	}
	return v
}

// JudgePlain is [Table.Judge] without a query, which takes a tenth of the time of a turn to fill
// in. If a condition has to be evaluated, JudgePlain returns false, and only Judge can answer.
func (t *Table) JudgePlain(e *Effective, action, resource string) (v Verdict, plain bool) {
	var found matches
	v = t.match(e, action, resource, &found)
	return v, !v.conditional
}

// match fills in found, and returns the verdict of the permissions without a condition. The
// verdict is conditional if it is not final.
func (t *Table) match(e *Effective, action, resource string, found *matches) Verdict {
	if len(action) == 0 || len(resource) == 0 || len(action) > MaxAction || len(resource) > MaxResource {
		return Verdict{reason: ReasonMalformed}
	}
	found.odd = mayBeOdd(resource) && isOdd(resource)
	if !t.index.find(e.any, action, resource, found) {
		if t.open != nil {
			return Verdict{reason: ReasonFenced}
		}
		return Verdict{reason: ReasonUnknownAction}
	}
	v := Verdict{reason: ReasonNoPermission}
	for i := range found.n {
		at := found.at(i)
		if role := at.deny.common(e.any); role >= 0 {
			return Verdict{reason: ReasonDeniedByRule, role: role, effect: Deny}
		}
		if v.reason != ReasonAllowed {
			if role := e.allowing(&at.allow, resource); role >= 0 {
				v.reason, v.role = ReasonAllowed, role
			}
		}
		v.conditional = v.conditional || at.conditions != nil
	}
	return v
}

// allowing returns a role in the set that e holds without a limit, or within a limit that
// the resource meets; -1 if there is none.
func (e *Effective) allowing(roles *roleTree, resource string) int32 {
	if role := roles.common(e.free); role >= 0 {
		return role
	}
	for i := range e.limited {
		l := &e.limited[i]
		if role := roles.common(l.roles); role >= 0 && l.meets(resource) {
			return role
		}
	}
	return -1
}

func (l *limited) meets(resource string) bool { return meets(l.within, resource) }

func meets(within []ResourcePattern, resource string) bool {
	for _, w := range within {
		if w.Matches(resource) {
			return true
		}
	}
	return false
}

// decideConditions evaluates conditions after Judge found allow, the result without them.
// It can find another allow, and a deny that overrides it. An allow whose condition fails
// gives nothing. A deny whose condition fails denies.
func (t *Table) decideConditions(e *Effective, q *Query, found *matches, allow Verdict) Verdict {
	copied := *q // what conditions are given escapes; the caller's query need not
	in := &conditionInput{query: &copied}
	for i := 0; i < found.n && allow.reason != ReasonAllowed; i++ {
		if c := found.at(i).conditions; c != nil {
			allow = e.allowIf(c, in, allow)
		}
	}
	if allow.reason != ReasonAllowed {
		return allow
	}
	for i := range found.n {
		if c := found.at(i).conditions; c != nil {
			if v := e.denyIf(c, in); v.reason != ReasonUnset {
				return v
			}
		}
	}
	return allow
}

// allowIf evaluates conditions of allows until one holds. It returns otherwise the verdict
// so far, or that a condition failed.
func (e *Effective) allowIf(c *conditional, in *conditionInput, so Verdict) Verdict {
	c.allow.each(e.any, func(role int32, list []*Condition) bool {
		if !e.allowsRole(role, in.query.Resource) {
			return true
		}
		for _, when := range list {
			yes, err := when.eval(in)
			if err != nil {
				so = Verdict{reason: ReasonConditionError, role: role, when: when}
			} else if yes {
				so = Verdict{reason: ReasonAllowed, role: role, when: when}
				return false
			}
		}
		return true
	})
	return so
}

// denyIf evaluates conditions of denies until one holds or fails. It returns the zero
// Verdict if none does.
func (e *Effective) denyIf(c *conditional, in *conditionInput) (v Verdict) {
	c.deny.each(e.any, func(role int32, list []*Condition) bool {
		for _, when := range list {
			switch yes, err := when.eval(in); {
			case err != nil:
				v = Verdict{reason: ReasonConditionError, role: role, effect: Deny, when: when}
				return false
			case yes:
				v = Verdict{reason: ReasonDeniedByRule, role: role, effect: Deny, when: when}
				return false
			}
		}
		return true
	})
	return v
}

func (e *Effective) allowsRole(role int32, resource string) bool {
	if e.free.has(role) {
		return true
	}
	for i := range e.limited {
		if l := &e.limited[i]; l.roles.has(role) && l.meets(resource) {
			return true
		}
	}
	return false
}

// AttachRecord sets when a decision was made and the record of its principal, so that
// [Decision.Explain] can name the grant.
func (d *Decision) AttachRecord(record *Record, now int64) { d.record, d.Time = record, now }

// Denied returns a decision that does not depend on the policy.
func Denied(reason Reason, who Principal, revision uint64, now int64) Decision {
	return Decision{Reason: reason, Revision: revision, Time: now, who: who}
}
