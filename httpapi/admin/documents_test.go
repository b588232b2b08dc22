package admin

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// TestReceiptsAreWhatTheClientReads keeps the JSON of [actors.Receipt] and [client.Receipt] the
// same.
func TestReceiptsAreWhatTheClientReads(t *testing.T) {
	alice := policy.MustPrincipal("user:alice")
	lease := actors.LeaseInfo{ID: 7, Principal: alice, Action: "a", Resource: "r", Revision: 2, Since: time.Unix(9, 0).UTC(), Revoked: 3, Credential: "f0"}
	written, err := json.Marshal(actors.Receipt{
		Revision: 3, EndedCount: 1, RunningCount: 1, Connections: 2, Missing: []string{"b"}, Unchanged: true, Restarted: true, Settling: true,
		Ended:   []actors.Ended{{LeaseInfo: lease, How: actors.HowCanceled, After: time.Millisecond}},
		Running: []actors.LeaseInfo{lease}, StillGrantedBy: []policy.Grant{{Principal: alice, Role: "x"}},
	}, json.Deterministic(true))
	require.NoError(t, err)
	var read client.Receipt
	require.NoError(t, json.Unmarshal(written, &read, json.RejectUnknownMembers(true)))
	again, err := json.Marshal(read, json.Deterministic(true))
	require.NoError(t, err)
	require.JSONEq(t, string(written), string(again))
}
