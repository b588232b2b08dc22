package actors_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// ends is an event that takes a lease's authority, or another event during its grace.
type ends func(t *testing.T, s *graceScene)

// graceScene is an engine in which alice runs an operation with a grace of its own.
type graceScene struct {
	engine     *actors.Engine
	credential *actors.Credential
}

func (s *graceScene) update(t *testing.T, grace *time.Duration, changes ...policy.Change) {
	t.Helper()
	_, err := s.engine.Update(t.Context(), actors.Update{Changes: changes, Grace: grace})
	require.NoError(t, err)
}

func revokes(grace *time.Duration) ends {
	return func(t *testing.T, s *graceScene) {
		s.update(t, grace, policy.RevokeRole(policy.Grant{Principal: alice, Role: "writer"}))
	}
}

func denies(grace *time.Duration) ends {
	return func(t *testing.T, s *graceScene) {
		s.update(t, grace, policy.PutRole(roleOf(t, "writer", permission(policy.Allow, "orders:read", "**")), ""))
	}
}

func revokesCertificate(grace *time.Duration) ends {
	return func(t *testing.T, s *graceScene) {
		id, err := policy.ByFingerprint(s.credential.Fingerprint())
		require.NoError(t, err)
		s.update(t, grace, policy.RevokeCertificate(id, ""))
	}
}

func listsCertificate(t *testing.T, s *graceScene) {
	_, err := s.engine.UseRevocationLists(t.Context(), listed{"3": true})
	require.NoError(t, err)
}

func grantsAgain(t *testing.T, s *graceScene) {
	s.update(t, nil, policy.GrantRole(policy.Grant{Principal: alice, Role: "writer"}))
}

func expires(in time.Duration) ends {
	return func(t *testing.T, s *graceScene) {
		s.update(t, nil, policy.GrantRole(policy.Grant{Principal: alice, Role: "writer", Expires: time.Now().Add(in)}))
	}
}

// TestG2_GraceOfAnOperation takes the authority of an operation, lets other events follow, and
// tells when the operation's context ends.
func TestG2_GraceOfAnOperation(t *testing.T) {
	const validity = 30 * time.Second // of the certificate, from the first event
	type event struct {
		after time.Duration
		does  ends
	}
	seconds := func(n int) *time.Duration { return new(time.Duration(n) * time.Second) }
	tests := map[string]struct {
		own    *time.Duration
		events []event
		want   int // in seconds from the first event
	}{
		"no grace":                                    {nil, []event{{0, revokes(nil)}}, 0},
		"its own":                                     {seconds(5), []event{{0, revokes(nil)}}, 5},
		"its own, when a role changes":                {seconds(5), []event{{0, denies(nil)}}, 5},
		"the update's":                                {nil, []event{{0, revokes(seconds(5))}}, 5},
		"the update's, which is shorter":              {seconds(20), []event{{0, revokes(seconds(5))}}, 5},
		"the update's, which is none":                 {seconds(20), []event{{0, revokes(seconds(0))}}, 0},
		"its own, which is shorter":                   {seconds(5), []event{{0, revokes(seconds(20))}}, 5},
		"its own, which is none":                      {seconds(0), []event{{0, revokes(seconds(20))}}, 0},
		"a repetition counts from the first":          {seconds(20), []event{{0, revokes(nil)}, {10 * time.Second, revokes(nil)}}, 20},
		"a repetition shortens it":                    {seconds(20), []event{{0, revokes(nil)}, {3 * time.Second, revokes(seconds(2))}}, 5},
		"a repetition does not prolong it":            {seconds(5), []event{{0, revokes(nil)}, {3 * time.Second, revokes(seconds(60))}}, 5},
		"another grant does not take it back":         {seconds(5), []event{{0, revokes(nil)}, {time.Second, grantsAgain}}, 5},
		"the certificate is revoked":                  {seconds(20), []event{{0, revokesCertificate(nil)}}, 0},
		"the certificate is revoked with a grace":     {seconds(20), []event{{0, revokesCertificate(seconds(5))}}, 5},
		"the certificate is revoked during it":        {seconds(20), []event{{0, revokes(nil)}, {5 * time.Second, revokesCertificate(nil)}}, 5},
		"a CRL lists the certificate":                 {seconds(20), []event{{0, listsCertificate}}, 0},
		"a CRL lists the certificate during it":       {seconds(20), []event{{0, revokes(nil)}, {5 * time.Second, listsCertificate}}, 5},
		"the certificate ends during it":              {seconds(60), []event{{0, revokes(nil)}}, 30},
		"the certificate ends during the update's":    {nil, []event{{0, revokes(seconds(60))}}, 30},
		"the certificate ends during a certificate's": {nil, []event{{0, revokesCertificate(seconds(60))}}, 30},
		"its own, when the grant expires":             {seconds(5), []event{{0, expires(10 * time.Second)}}, 15},
		"the certificate ends before the grant":       {seconds(5), []event{{0, expires(60 * time.Second)}}, 30},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &graceScene{engine: ordersEngine(t, actors.Options{})}
				start := time.Now()
				s.update(t, nil, policy.PutRole(roleOf(t, "idle"), ""),
					policy.GrantRole(policy.Grant{Principal: alice, Role: "idle", Expires: start.Add(2 * time.Second)}))
				s.credential = actors.NewCredential([32]byte{1}, [32]byte{2}, "3", start.Add(-time.Hour), start.Add(validity))
				req := writeAs(alice)
				req.Credential, req.Grace = s.credential, test.own
				l := admit(t, s.engine, req)
				for _, e := range test.events {
					time.Sleep(time.Until(start.Add(e.after)))
					go e.does(t, s)
					synctest.Wait()
				}
				<-l.Context().Done()
				require.ErrorIs(t, l.Context().Err(), actors.ErrRevoked)
				got := time.Since(start)
				require.GreaterOrEqual(t, got, time.Duration(test.want)*time.Second)
				require.LessOrEqual(t, got, time.Duration(test.want+1)*time.Second, "the ticker comes each second")
				l.Release()
				synctest.Wait()
			})
		})
	}
}

// TestHasAuthority looks at the authority of an operation before, during and after its grace.
func TestHasAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		require.False(t, actors.HasAuthority(t.Context()), "of no operation")
		var turn context.Context
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), func(ctx context.Context) error {
			turn = ctx
			require.True(t, actors.HasAuthority(ctx))
			return nil
		}))
		require.False(t, actors.HasAuthority(turn), "of a turn that is over")

		req := writeAs(alice)
		req.Grace = new(time.Minute)
		revoked, released := admit(t, e, req), admit(t, e, writeAs(alice))
		require.True(t, actors.HasAuthority(released.Context()))
		released.Release()
		require.False(t, actors.HasAuthority(released.Context()))
		type key struct{}
		inner := context.WithValue(revoked.Context(), key{}, "v")
		require.True(t, actors.HasAuthority(inner))
		go func() {
			_, err := e.Update(t.Context(), revoke(alice, "writer"))
			require.NoError(t, err)
		}()
		synctest.Wait()
		require.NoError(t, inner.Err())
		require.False(t, actors.HasAuthority(inner), "in its grace")
		go grant(t, e, alice, "writer") // it waits for the revoked operation too
		synctest.Wait()
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
		require.False(t, actors.HasAuthority(inner), "a later grant does not give it back")
		revoked.Release()
		synctest.Wait()
	})
}

// TestGracesOfOnePrincipalEndEachInTime has one timer for many leases.
func TestGracesOfOnePrincipalEndEachInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		start := time.Now()
		took := map[time.Duration]time.Duration{}
		var leases []*actors.Lease
		for _, grace := range []time.Duration{40 * time.Second, 10 * time.Second, 0, 20 * time.Second, 30 * time.Second} {
			req := writeAs(alice)
			req.Grace = &grace
			l := admit(t, e, req)
			leases = append(leases, l)
			context.AfterFunc(l.Context(), func() { took[grace] = time.Since(start); l.Release() })
			synctest.Wait()
		}
		r, err := e.Update(t.Context(), revoke(alice, "writer"))
		require.NoError(t, err)
		require.Len(t, r.Ended, len(leases))
		require.Equal(t, 40*time.Second, time.Since(start))
		for grace, after := range took {
			require.Equal(t, grace, after)
		}
		require.Len(t, took, len(leases))
	})
}
