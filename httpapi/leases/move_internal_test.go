package leases

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

// TestG2_ALostAdmissionIsNotReplaced revokes the authority of a lease and grants it again, before
// the lease hears of it. Another certificate must not take the lease over: the receipt of the
// revocation waits for it.
func TestG2_ALostAdmissionIsNotReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, err := policyfile.Parse("policy.yaml", []byte(`
roles: [{name: worker, permissions: [{actions: ["jobs:run"], resources: ["jobs/*"]}]}]
grants: [{principal: "user:alice", role: worker}]
`))
		require.NoError(t, err)
		var roles []*policy.Role
		for r := range file.AllRoles() {
			roles = append(roles, r)
		}
		memory, err := oplog.NewMemoryWith(roles, file.Grants)
		require.NoError(t, err)
		engine, err := actors.New(actors.Options{Log: memory})
		require.NoError(t, err)
		defer func() { require.NoError(t, engine.Close(context.Background())) }()
		alice := policy.MustPrincipal("user:alice")
		admitted := func() admission {
			own, err := engine.AdmitDetached(t.Context(), actors.Request{Principal: alice, Action: "jobs:run", Resource: "jobs/1"})
			require.NoError(t, err)
			return admission{own: own}
		}
		l := &lease{ttl: time.Minute}
		before := admitted()
		require.True(t, l.admit(before))
		defer l.timer.Stop()
		grant := policy.Grant{Principal: alice, Role: "worker"}
		update := func(change policy.Change) <-chan struct{} {
			quiesced := make(chan struct{})
			go func() {
				defer close(quiesced)
				_, _ = engine.Update(context.Background(), actors.Update{Changes: []policy.Change{change}})
			}()
			synctest.Wait()
			return quiesced
		}
		quiesced := update(policy.RevokeRole(grant))
		again := update(policy.GrantRole(grant))
		after := admitted()
		moved := l.move(after)
		synctest.Wait()
		waits := true
		select {
		case <-quiesced:
			waits = false
		default:
		}
		after.release(actors.HowReleased)
		before.release(actors.HowReleased)
		<-quiesced
		<-again
		require.False(t, moved)
		require.True(t, waits, "the revocation is quiesced while the operation that it forbids goes on")
	})
}
