package authzen_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/authzen"
)

// asItems is a batch of erin's: reading is allowed, writing is not.
func asItems(semantic string, names ...string) string {
	items := make([]string, len(names))
	for i, name := range names {
		items[i] = fmt.Sprintf(`{"action":{"name":%q}}`, name)
	}
	return fmt.Sprintf(`{"subject":{"type":"user","id":"erin"},"resource":{"type":"orders","id":"1"},"evaluations":[%s]%s}`,
		strings.Join(items, ","), semantic)
}

func decided(values ...bool) string {
	items := make([]string, len(values))
	for i, value := range values {
		items[i] = fmt.Sprintf(`{"decision":%t}`, value)
	}
	return `{"evaluations":[` + strings.Join(items, ",") + `]}`
}

func TestBatchSemantics(t *testing.T) {
	s := newDecisionStation(t)
	c := s.As("pep")
	const read, write = "orders:read", "orders:write"
	option := func(name string) string { return fmt.Sprintf(`,"options":{"evaluations_semantic":%q}`, name) }
	for _, test := range []struct{ name, body, want string }{
		{"by default all", asItems("", read, write, read), decided(true, false, true)},
		{"options without semantic", asItems(`,"options":{"other":1}`, read, write, read), decided(true, false, true)},
		{"execute_all", asItems(option("execute_all"), write, read), decided(false, true)},
		{"deny_on_first_deny", asItems(option("deny_on_first_deny"), read, write, read), decided(true, false)},
		{"deny_on_first_deny, none", asItems(option("deny_on_first_deny"), read, read), decided(true, true)},
		{"permit_on_first_permit", asItems(option("permit_on_first_permit"), write, read, write), decided(false, true)},
		{"permit_on_first_permit, none", asItems(option("permit_on_first_permit"), write, write), decided(false, false)},
		{"a malformed item denies first", asItems(option("deny_on_first_deny"), "", read), decided(false)},
		{"a malformed item permits nothing", asItems(option("permit_on_first_permit"), "", read, read), decided(false, true)},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := s.Post(c, evaluations, test.body)
			require.Equal(t, 200, got.StatusCode, got.Text)
			require.Equal(t, test.want, got.Text)
			require.Equal(t, got.Text, s.Post(c, evaluations, test.body).Text)
		})
	}
	for _, name := range []string{"bogus", "", "Execute_All"} {
		got := s.Post(c, evaluations, asItems(option(name), read))
		require.Equal(t, 400, got.StatusCode)
		require.Contains(t, got.Problem(t)["detail"], "/options/evaluations_semantic")
	}
	got := s.Post(c, evaluations, ask("user", "erin", read, "orders/1", option("bogus")))
	require.Equal(t, 400, got.StatusCode, "also without items")
}

func TestBatchWithoutItemsIsOneEvaluation(t *testing.T) {
	s := newDecisionStation(t)
	c := s.As("pep")
	for _, more := range []string{``, `,"evaluations":[]`, `,"evaluations":null`} {
		require.Equal(t, `{"decision":true}`, s.Post(c, evaluations, ask("user", "erin", "orders:read", "orders/1", more)).Text)
	}
	require.Equal(t, 400, s.Post(c, evaluations, `{"evaluations":[]}`).StatusCode)
}

func TestBatchInheritance(t *testing.T) {
	s := newDecisionStation(t)
	c := s.As("pep")
	const top = `"subject":{"type":"user","id":"dave","properties":{"level":3}},"action":{"name":"orders:ship","properties":{"fast":true}},` +
		`"resource":{"type":"orders","id":"1","properties":{"amount":1}},"context":{"source":"desk"}`
	for _, test := range []struct {
		name, item string
		want       bool
	}{
		{"everything", `{}`, true},
		{"null inherits", `{"subject":null,"action":null,"resource":null,"context":null}`, true},
		{"the id, not the properties of the subject", `{"subject":{"type":"user"}}`, false},
		{"the type", `{"subject":{"id":"dave","properties":{"level":3}}}`, true},
		{"the name, not the properties of the action", `{"action":{"properties":{"fast":false}}}`, false},
		{"the name, with properties of its own", `{"action":{"properties":{"fast":true}}}`, true},
		{"an own name has no inherited properties", `{"action":{"name":"orders:ship"}}`, false},
		{"resource type", `{"action":{"name":"orders:write"},"resource":{"id":"2","properties":{"amount":3}}}`, true},
		{"resource id", `{"action":{"name":"orders:write"},"resource":{"type":"orders","properties":{"amount":3000}}}`, false},
		{"own context whole", `{"action":{"name":"orders:write"},"context":{}}`, false},
		{"an empty id is no missing one", `{"subject":{"type":"user","id":"","properties":{"level":3}}}`, false},
		{"a refused subject denies the item", `{"subject":{"type":"dns","id":"dave"}}`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := fmt.Sprintf(`{%s,"evaluations":[%s,{}]}`, top, test.item)
			got := s.Post(c, evaluations, body)
			require.Equal(t, decided(test.want, true), got.Text)
		})
	}
	t.Run("nothing to inherit", func(t *testing.T) {
		for _, item := range []string{`{"subject":{"type":"user"}}`, `{"action":{}}`, `{"resource":{"id":"1"}}`, `{}`} {
			require.Equal(t, decided(false), s.Post(c, evaluations, `{"evaluations":[`+item+`]}`).Text)
		}
	})
}

func TestBatchOfSeveralSubjects(t *testing.T) {
	s := newDecisionStation(t)
	body := `{"action":{"name":"orders:read"},"resource":{"type":"orders","id":"frozen/1"},"evaluations":[` +
		`{"subject":{"type":"user","id":"dave"}},{"subject":{"type":"user","id":"erin"}},` +
		`{"subject":{"type":"principal","id":"spiffe://interlock.test/pep"}},{"subject":{"type":"user","id":"dave"}}]}`
	require.Equal(t, decided(false, true, false, false), s.Post(s.As("pep"), evaluations, body).Text)
}

func TestBatchLimit(t *testing.T) {
	s := newDecisionStation(t, func(o *authzen.Options) { o.MaxEvaluations = 3 })
	c := s.As("pep")
	require.Equal(t, 200, s.Post(c, evaluations, asItems("", "a", "b", "c")).StatusCode)
	got := s.Post(c, evaluations, asItems("", "a", "b", "c", "d"))
	require.Equal(t, 413, got.StatusCode)
	require.Equal(t, "urn:interlock:problem:too-many-evaluations", got.Problem(t)["type"])
}

// SECURITY, line 30.
func TestPropertiesOfAQuestionAreBounded(t *testing.T) {
	s := newDecisionStation(t)
	c := s.As("pep")
	question := func(properties string) string {
		return `{"subject":{"type":"user","id":"erin"},"action":{"name":"orders:read"},"resource":{"type":"orders","id":"1","properties":{"a":` + properties + `}}}`
	}
	fits := "[" + strings.Repeat("1,", 4_000) + "1]"
	require.Equal(t, 200, s.Post(c, evaluation, question(fits)).StatusCode)
	wide := "[" + strings.Repeat("1,", 4_100) + "1]"
	got := s.Post(c, evaluation, question(wide))
	require.Equal(t, 400, got.StatusCode)
	require.Contains(t, got.Text, "at most 4096 values")
	got = s.Post(c, evaluations, `{"evaluations":[`+question(wide)+`,`+question(fits)+`]}`)
	require.Equal(t, `{"evaluations":[{"decision":false},{"decision":true}]}`, got.Text)
}
