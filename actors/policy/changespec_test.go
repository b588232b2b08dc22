package policy_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

func decodeChange(text string) (policy.ChangeSpec, error) {
	var s policy.ChangeSpec
	err := json.Unmarshal([]byte(text), &s, json.RejectUnknownMembers(true))
	return s, err
}

var hex64 = strings.Repeat("0f", 32)

func TestChangesInJSON(t *testing.T) {
	for _, text := range []string{
		`{"op":"grant","principal":"user:a","role":"x","within":["a/**"],"expires":"2027-01-01T00:00:00Z","reason":"why"}`,
		`{"op":"grant","principals":"user:*","role":"x"}`,
		`{"op":"revoke","principal":"user:a","role":"x","within":["a"],"reason":"left"}`,
		`{"op":"put-role","role":{"name":"x","inherits":["y"],"permissions":[{"effect":"deny","actions":["a"],"resources":["b"],"when":"true"}]}}`,
		`{"op":"put-role","role":{"name":"x"},"reason":"empty"}`,
		`{"op":"delete-role","role":"x","reason":"unused"}`,
		`{"op":"revoke-certificate","sha256":"` + hex64 + `"}`,
		`{"op":"revoke-certificate","serial":"1f","issuer":"` + hex64 + `","reason":"lost"}`,
	} {
		spec, err := decodeChange(text)
		require.NoError(t, err, text)
		c, err := spec.Change()
		require.NoError(t, err, text)
		out, err := json.Marshal(policy.SpecOfChange(c))
		require.NoError(t, err)
		require.Equal(t, text, string(out))
	}
}

func TestChangesThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		text, field string
		cause       error
	}{
		{`{}`, "op", policy.ErrInvalid},
		{`{"op":"Grant"}`, "op", policy.ErrInvalid},
		{`{"op":"grant","principal":"user:a"}`, "role", policy.ErrMalformed},
		{`{"op":"grant","principal":"user:a","role":{"name":"x"}}`, "role", policy.ErrInvalid},
		{`{"op":"grant","principal":"a","role":"x"}`, "principal", policy.ErrMalformed},
		{`{"op":"grant","principal":"user:a","role":"x","sha256":"0f"}`, "sha256", policy.ErrInvalid},
		{`{"op":"revoke","principal":"user:a","role":"x","expires":"2027-01-01T00:00:00Z"}`, "expires", policy.ErrInvalid},
		{`{"op":"put-role","role":"x"}`, "role", policy.ErrInvalid},
		{`{"op":"put-role"}`, "role", policy.ErrInvalid},
		{`{"op":"put-role","role":{}}`, "role.name", policy.ErrMalformed},
		{`{"op":"put-role","role":{"name":"x","permissions":[{"actions":["a"],"resources":["*b"]}]}}`, "role.permissions[0].resources[0]", policy.ErrMalformed},
		{`{"op":"put-role","role":{"name":"x"},"principal":"user:a"}`, "principal", policy.ErrInvalid},
		{`{"op":"delete-role"}`, "role", policy.ErrMalformed},
		{`{"op":"delete-role","role":"x","within":[]}`, "within", policy.ErrInvalid},
		{`{"op":"delete-role","role":"x","principals":"user:*"}`, "principals", policy.ErrInvalid},
		{`{"op":"revoke-certificate"}`, "serial", policy.ErrMalformed},
		{`{"op":"revoke-certificate","sha256":"0f"}`, "sha256", policy.ErrMalformed},
		{`{"op":"revoke-certificate","serial":"1"}`, "issuer", policy.ErrMalformed},
		{`{"op":"revoke-certificate","sha256":"` + hex64 + `","serial":"1"}`, "sha256", policy.ErrInvalid},
		{`{"op":"revoke-certificate","sha256":"` + hex64 + `","role":"x"}`, "role", policy.ErrInvalid},
	} {
		spec, err := decodeChange(c.text)
		require.NoError(t, err, c.text)
		_, err = spec.Change()
		requireField(t, err, c.field, c.cause)
	}
}

func TestChangesThatAreNotTheirShape(t *testing.T) {
	for _, text := range []string{
		`{"op":"grant","Principal":"user:a"}`, `{"op":"grant","op":"revoke"}`, `{"op":"put-role","role":{"name":"x","extra":1}}`,
		`{"op":"put-role","role":{"Name":"x"}}`, `{"op":"put-role","role":{"name":"x","name":"y"}}`, `{"role":null}`, `{"role":1}`,
		`{"role":["x"]}`, `{"role":`, `{"role":{"permissions":[{"actions":"a"}]}}`,
	} {
		_, err := decodeChange(text)
		require.Error(t, err, text)
	}
	var s policy.ChangeSpec
	require.Error(t, json.Unmarshal([]byte(`{"op":"put-role","role":{"name":"x","extra":1}}`), &s), "whatever the options")
}

func TestSpecsOfAnyChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := policytest.GenFile(t), policytest.GenFile(t)
		for _, c := range policyfile.Diff(from.AllRoles(), from.AllGrants(), to) {
			text, err := json.Marshal(policy.SpecOfChange(c))
			require.NoError(t, err)
			spec, err := decodeChange(string(text))
			require.NoError(t, err)
			again, err := spec.Change()
			require.NoError(t, err)
			require.Equal(t, c.String(), again.String())
			require.Equal(t, policy.SpecOfChange(c), policy.SpecOfChange(again))
		}
	})
}
