package actors

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// TestReceiptsKeepNoPrincipals covers updates whose caller waits, and those of another engine.
func TestReceiptsKeepNoPrincipals(t *testing.T) {
	e := attackEngine(t, nil)
	_, err := e.Decide(t.Context(), doing("do:a"))
	require.NoError(t, err)
	grant := policy.Grant{Principal: eve, Role: "b"}
	own, err := e.Update(t.Context(), Update{Changes: []policy.Change{policy.GrantRole(grant)}})
	require.NoError(t, err)
	foreign := own.Revision + 1
	e.deliver([]oplog.Outcome{{
		ID: oplog.ProposalID{1}, Revision: foreign, Change: &oplog.Change{},
		Records: map[policy.Principal]*policy.Record{eve: {Revision: foreign}},
	}})
	for _, revision := range []uint64{own.Revision, foreign} {
		_, err := e.Receipt(t.Context(), revision)
		require.NoError(t, err)
		tracker, _ := e.receipts.find(revision)
		require.Empty(t, tracker.near, "revision %d", revision)
	}
}
