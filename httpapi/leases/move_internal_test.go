package leases

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

var alice = policy.MustPrincipal("user:alice")

// engineFor starts an engine that allows alice to run jobs.
func engineFor(t *testing.T) *actors.Engine {
	file, err := policyfile.Parse("policy.yaml", []byte(`
roles: [{name: worker, permissions: [{actions: ["jobs:run"], resources: ["jobs/*"]}]}]
grants: [{principal: "user:alice", role: worker}]
`))
	require.NoError(t, err)
	memory, err := oplog.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	require.NoError(t, err)
	engine, err := actors.New(actors.Options{Log: memory})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Close(context.Background())) })
	return engine
}

func admissionOf(t *testing.T, engine *actors.Engine) admission {
	own, err := engine.AdmitDetached(t.Context(), actors.Request{Principal: alice, Action: "jobs:run", Resource: "jobs/1"})
	require.NoError(t, err)
	return admission{own: own}
}

// TestG2_ALostAdmissionIsNotReplaced revokes the authority of a lease and grants it again, before
// the lease hears of it. Another certificate must not take the lease over: the receipt of the
// revocation waits for it.
func TestG2_ALostAdmissionIsNotReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := engineFor(t)
		l := &lease{ttl: time.Minute}
		before := admissionOf(t, engine)
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
		after := admissionOf(t, engine)
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

// TestAnEndedLeaseDoesNotMove moves a lease at the moment at which it has ended and has not yet
// released what it stands on. Nothing would ever release the other admission.
func TestAnEndedLeaseDoesNotMove(t *testing.T) {
	engine := engineFor(t)
	l := &lease{ttl: time.Minute}
	before := admissionOf(t, engine)
	require.True(t, l.admit(before))
	l.timer.Stop()
	l.state = ended
	after := admissionOf(t, engine)
	moved := l.move(after)
	before.release(actors.HowReleased)
	after.release(actors.HowReleased)
	require.False(t, moved)
}
