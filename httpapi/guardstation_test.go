package httpapi_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
)

// patience is for what comes soon, and has to come.
const patience = 10 * time.Second

// guardStation is a station whose handlers stand behind a guard. When its test is over, no
// operation may be left.
type guardStation struct {
	*station
	guard    *httpapi.Guard
	router   *mux.Router
	underWay uint64 // the revision of the newest update
}

func newGuardStation(t *testing.T) *guardStation {
	t.Helper()
	s := &guardStation{station: newStation(t, "guard-policy.yaml")}
	s.guard = httpapi.NewGuard(s.Engine, s.Connections, s.Log.Logger())
	s.router = httpapi.NewRouter(s.Log.Logger())
	t.Cleanup(s.requireNoLeases)
	return s.withoutTimeouts()
}

// withoutTimeouts starts the server so that none of its own limits ends what a revocation
// has to end.
func (s *guardStation) withoutTimeouts() *guardStation {
	s.Serve(s.router, func(o *httpapi.ServerOptions) { o.ReadTimeout, o.WriteTimeout = time.Hour, time.Hour })
	return s
}

// protect adds a guarded handler for /kind/{id}.
func (s *guardStation) protect(kind string, rule httpapi.Rule, h http.HandlerFunc) {
	if rule.Resource == "" {
		rule.Resource = "orders/{id}"
	}
	s.router.Handle("/"+kind+"/{id}", s.guard.Protect(rule, h))
}

func who(name string) policy.Principal {
	return policy.MustPrincipal("spiffe://interlock.test/" + name)
}

func (s *guardStation) leases() []actors.LeaseInfo {
	s.T.Helper()
	leases, err := s.Engine.Leases(context.Background(), policy.Principal{})
	require.NoError(s.T, err)
	return leases
}

// requireOpen waits until the servers have so many connections.
func (s *station) requireOpen(n int64) {
	s.T.Helper()
	require.Eventually(s.T, func() bool { return s.Connections.Counts().Open == n }, patience, time.Millisecond)
}

func (s *guardStation) requireNoLeases() {
	s.T.Helper()
	require.Eventually(s.T, func() bool { return len(s.leases()) == 0 }, patience, time.Millisecond, "every operation ends")
}

// outcome is what an update came to.
type outcome struct {
	actors.Receipt
	err error
}

// revoke takes a role from a principal in the background. The channel receives the result.
func (s *guardStation) revoke(name, role string) <-chan outcome {
	return s.update(policy.RevokeRole(policy.Grant{Principal: who(name), Role: role}))
}

func (s *guardStation) update(changes ...policy.Change) <-chan outcome {
	s.underWay = s.Engine.Revision() + 1
	done := make(chan outcome, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		r, err := s.Engine.Update(ctx, actors.Update{Changes: changes})
		done <- outcome{r, err}
	}()
	return done
}

// requireQuiesced waits for an update that is to come to its end.
func requireQuiesced(t testing.TB, update <-chan outcome) actors.Receipt {
	t.Helper()
	o := <-update
	require.NoError(t, o.err)
	require.True(t, o.Quiesced)
	return o.Receipt
}

// requireRunning finds that the update under way still waits for a number of operations.
func (s *guardStation) requireRunning(n int) {
	s.T.Helper()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	var receipt actors.Receipt
	var err error
	require.Eventually(s.T, func() bool {
		receipt, err = s.Engine.Receipt(over, s.underWay)
		// The principal takes the update in when it was delivered, and not at once.
		return errors.Is(err, actors.ErrNotQuiesced) && len(receipt.Running) == n
	}, patience, time.Millisecond, "an update that waits for %d operations", n)
	require.ErrorIs(s.T, err, actors.ErrNotQuiesced)
}

// await takes a value that has to come.
func await[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		require.Fail(t, "it did not come")
		panic("unreachable")
	}
}
