package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

func TestConditionsThatAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "1 +", "resource.amount < 1", "resource.propertes.amount < 1", "principal.name == 'a'", "action.id == 'a'",
		"resource.id", "1", "'true'", "now", "unknown", "resource.id < 1", "request.time < now", "foo()", "'a'.matches('(')",
		strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500),
		"true || " + strings.Repeat(" ", policy.MaxConditionText),
	} {
		c, err := policy.ParseCondition(text)
		require.ErrorIs(t, err, policy.ErrCondition, text)
		require.Nil(t, c)
	}
	var none *policy.Condition
	require.Empty(t, none.String())
}

// decideIf asks for a role with one permission of that effect under the condition, next to
// an unconditional allow if it denies.
func decideIf(t *testing.T, effect, when string, q policy.Query) policy.Decision {
	t.Helper()
	spec := policy.RoleSpec{Permissions: []policy.PermissionSpec{{Effect: effect, Actions: []string{"a"}, Resources: []string{"**"}, When: when}}}
	if effect == "deny" {
		spec.Permissions = append(spec.Permissions, policytest.Allow("a", "**"))
	}
	q.Principal, q.Action, q.Resource = policy.MustPrincipal("user:alice"), "a", "orders/1"
	f := &policyfile.File{
		Roles:  map[string]*policy.Role{"r": policytest.MustRole(t, "r", spec)},
		Grants: []policy.Grant{policytest.MustGrant(t, policy.GrantSpec{Principal: "user:alice", Role: "r"})},
	}
	return policytest.DecideIn(t, f, &q, time.Unix(1, 0))
}

func TestConditionsOverJSONValues(t *testing.T) {
	props := &policy.Properties{
		Principal: map[string]any{"level": 3.0, "teams": []any{"red", "blue"}},
		Action:    map[string]any{"method": "GET"},
		Resource:  map[string]any{"amount": 999.5, "whole": 1000.0, "owner": "user:alice", "nested": map[string]any{"x": nil}},
		Context:   map[string]any{"ip": "10.0.0.1", "flag": true, "text": "yes"},
	}
	for when, want := range map[string]policy.Reason{
		"resource.properties.amount < 1000":                   policy.ReasonAllowed,
		"resource.properties.amount > 1000":                   policy.ReasonNoPermission,
		"resource.properties.whole == 1000":                   policy.ReasonAllowed,
		"resource.properties.whole < 1000":                    policy.ReasonNoPermission,
		"resource.properties.whole <= 1000.0":                 policy.ReasonAllowed,
		"resource.properties.owner == principal.id":           policy.ReasonAllowed,
		"resource.id.startsWith('orders/')":                   policy.ReasonAllowed,
		"action.name == 'a'":                                  policy.ReasonAllowed,
		"action.properties.method == 'GET'":                   policy.ReasonAllowed,
		"'red' in principal.properties.teams":                 policy.ReasonAllowed,
		"principal.properties.level >= 3":                     policy.ReasonAllowed,
		"context.flag":                                        policy.ReasonAllowed,
		"context.text":                                        policy.ReasonConditionError, // no bool
		"context.nothing":                                     policy.ReasonConditionError,
		"resource.properties.nested.x == null":                policy.ReasonAllowed,
		"resource.properties.amount < 'x'":                    policy.ReasonConditionError,
		"has(context.nothing)":                                policy.ReasonNoPermission,
		"context.nothing || true":                             policy.ReasonAllowed,
		"1 / 0 == 1":                                          policy.ReasonConditionError,
		"size(resource.properties.owner) == 10":               policy.ReasonAllowed,
		"context.ip.matches('^10[.]')":                        policy.ReasonAllowed,
		"principal.properties.teams.exists(t, t == 'orange')": policy.ReasonNoPermission,
	} {
		d := decideIf(t, "allow", when, policy.Query{Properties: props})
		require.Equal(t, want, d.Reason, when)
		require.Equal(t, want == policy.ReasonAllowed, d.Allowed, when)
		require.Equal(t, want != policy.ReasonNoPermission, d.Explain().Permission != nil, when)
	}
}

func TestG6_ADenyWhoseConditionErrsDenies(t *testing.T) {
	for when, want := range map[string]policy.Reason{
		"context.nothing":                 policy.ReasonConditionError,
		"'a'.matches('(' + context.text)": policy.ReasonConditionError,
		"context.text":                    policy.ReasonConditionError,
		"context.flag":                    policy.ReasonDeniedByRule,
		"!context.flag":                   policy.ReasonAllowed,
		"has(context.absent)":             policy.ReasonAllowed,
	} {
		d := decideIf(t, "deny", when, policy.Query{Properties: &policy.Properties{Context: map[string]any{"flag": true, "text": "true"}}})
		require.Equal(t, want, d.Reason, when)
	}
	require.Equal(t, policy.ReasonConditionError, decideIf(t, "deny", "context.flag", policy.Query{}).Reason, "no policytest.Properties at all")
}

// SECURITY, line 30.
func TestG6_ComparingNestedValuesCosts(t *testing.T) {
	nested := func() any {
		outer := make([]any, 30)
		for i := range outer {
			inner := make([]any, 50)
			for j := range inner {
				inner[j] = "x"
			}
			outer[i] = map[string]any{"a": inner}
		}
		return outer
	}
	q := policy.Query{Properties: &policy.Properties{Context: map[string]any{"a": nested(), "b": nested(), "c": "x"}}}
	compare := func(n int) string {
		return strings.Repeat("context.a == context.b && ", n-1) + "context.a == context.b"
	}
	require.True(t, decideIf(t, "allow", compare(5), q).Allowed)
	require.Equal(t, policy.ReasonConditionError, decideIf(t, "allow", compare(15), q).Reason, "a comparison touches 1,500 values")
	require.Equal(t, policy.ReasonConditionError, decideIf(t, "allow", strings.Repeat("!(context.c in context.a) && ", 14)+"true", q).Reason)
	names := map[string]any{}
	for i := range 3_000 {
		names[fmt.Sprint("name-", i)] = true
	}
	inMap := policy.Query{Properties: &policy.Properties{Context: map[string]any{"names": names}}}
	require.True(t, decideIf(t, "allow", strings.Repeat("'name-7' in context.names && ", 49)+"true", inMap).Allowed, "a map looks up its key")
	require.Equal(t, policy.ReasonNoPermission, decideIf(t, "allow", strings.Repeat("context.a == context.c || ", 99)+"false", q).Reason, "a text has one value")
}

func TestPropertiesAreBounded(t *testing.T) {
	deep := func(n int) any {
		var v any = "x"
		for range n {
			v = []any{v}
		}
		return v
	}
	require.NoError(t, policy.CheckProperties(nil))
	require.NoError(t, policy.CheckProperties(&policy.Properties{Resource: map[string]any{"a": deep(policy.MaxPropertyDepth - 1)}}))
	err := policy.CheckProperties(&policy.Properties{Resource: map[string]any{"a": deep(policy.MaxPropertyDepth)}})
	require.ErrorContains(t, err, "resource.properties: invalid: properties are nested at most 16 deep")
	wide := map[string]any{"a": make([]any, policy.MaxPropertyValues/2), "b": map[string]any{}}
	require.NoError(t, policy.CheckProperties(&policy.Properties{Context: wide}))
	err = policy.CheckProperties(&policy.Properties{Principal: wide, Context: wide})
	require.ErrorContains(t, err, "context: invalid: an evaluation has at most 4096 values")
}

func TestG6_AConditionThatCostsTooMuchDenies(t *testing.T) {
	list := make([]any, 3000)
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	q := policy.Query{Properties: &policy.Properties{Context: map[string]any{"l": list}}}
	const costly = "context.l.all(x, context.l.all(y, x != y || x == y))"
	for _, effect := range []string{"allow", "deny"} {
		d := decideIf(t, effect, costly, q)
		require.False(t, d.Allowed)
		require.Equal(t, policy.ReasonConditionError, d.Reason)
	}
	require.True(t, decideIf(t, "allow", "context.l.all(x, x != 'y')", q).Allowed, "what costs little is let")
}

func TestNowIsReadOnceAndOnlyWhenAskedFor(t *testing.T) {
	reads := 0
	q := policy.Query{Now: func() time.Time { reads++; return policytest.Instant("2030-01-01T00:00:00Z") }}
	require.True(t, decideIf(t, "allow", "now == timestamp('2030-01-01T00:00:00Z') && now < timestamp('2031-01-01T00:00:00Z')", q).Allowed)
	require.Equal(t, 1, reads)
	require.True(t, decideIf(t, "allow", "now.getFullYear() == 2030", q).Allowed)
	require.Equal(t, 2, reads)
	require.True(t, decideIf(t, "allow", "action.name == 'a'", q).Allowed)
	require.Equal(t, 2, reads)
	require.True(t, decideIf(t, "allow", "now.getFullYear() == 1", policy.Query{}).Allowed, "without a clock it is the zero time")
}

func TestExplainNamesTheMissingProperty(t *testing.T) {
	d := decideIf(t, "allow", "resource.properties.amount < 1000 && context.flag", policy.Query{})
	ex := d.Explain()
	require.Equal(t, policy.ReasonConditionError, ex.Reason)
	require.EqualError(t, ex.ConditionError, "no such property resource.properties.amount")
	require.Contains(t, ex.String(), "; the condition failed: no such property resource.properties.amount")

	d = decideIf(t, "allow", "resource.properties.a.b.c == 1 && context.flag", policy.Query{
		Properties: &policy.Properties{Resource: map[string]any{"a": map[string]any{"b": map[string]any{}}}},
	})
	ex = d.Explain()
	require.EqualError(t, ex.ConditionError, "no such property resource.properties.a.b.c")

	d = decideIf(t, "allow", "true", policy.Query{})
	require.NoError(t, d.Explain().ConditionError)
}
