package admin

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
)

func TestASlowRateAllowsOneUpdate(t *testing.T) {
	who := policy.MustPrincipal("user:a")
	p := newPace(0.01)
	require.NoError(t, p.check(who))
	require.Error(t, p.check(who))
	require.NoError(t, p.check(policy.MustPrincipal("user:b")))
}
