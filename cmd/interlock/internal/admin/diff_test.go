package admin

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// TestDiff_StatusAndOutputAgree compares a policy with changes of which some change nothing.
func TestDiff_StatusAndOutputAgree(t *testing.T) {
	now, err := policyfile.Parse("policy.yaml", []byte("roles:\n  reader: {}\n  writer: {}\n"))
	require.NoError(t, err)
	again, deleted := policy.PutRole(now.Roles["reader"], ""), policy.DeleteRole("writer", "")
	for _, c := range []struct {
		changes           []policy.Change
		status            error
		table, jsonOutput string
	}{
		{[]policy.Change{again}, nil, "no differences\n", `{"changes":[]}` + "\n"},
		{[]policy.Change{again, deleted}, cli.ErrDenied, "role writer: deleted\n", `{"changes":[{"op":"delete-role","role":"writer"}]}` + "\n"},
	} {
		d, err := policyfile.DescribeChanges(now.View(1), c.changes)
		require.NoError(t, err)
		for format, want := range map[string]string{"table": c.table, "json": c.jsonOutput} {
			var o cli.Output
			require.NoError(t, o.Set(format))
			var out bytes.Buffer
			require.Equal(t, c.status, difference(d).answer(&out, &o))
			require.Equal(t, want, out.String())
		}
	}
}
