package actors

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
)

// The place of a removed principal is not found, not even by the zero Principal.
func TestRemovedPrincipalsAreNotFound(t *testing.T) {
	d := newDirectory()
	for _, who := range []policy.Principal{{}, policy.MustPrincipal("user:alice")} {
		p := &principal{holder: holder{who: who}}
		_, inserted := d.insert(p)
		require.True(t, inserted)
		require.Same(t, p, d.get(who))
		d.remove(p)
		require.Nil(t, d.get(who))
		require.Nil(t, d.get(policy.Principal{}))
	}
}
