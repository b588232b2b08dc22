package journal_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

var (
	alice = policy.MustPrincipal("user:alice")
	bob   = policy.MustPrincipal("user:bob")
	admin = policy.MustPrincipal("user:admin")
)

// quiet is for tests in which the store complains on purpose.
var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func role(t testing.TB, name string, permissions ...policy.PermissionSpec) *policy.Role {
	r, err := policy.RoleSpec{Permissions: permissions}.Role(name)
	require.NoError(t, err)
	return r
}

func writer(t testing.TB) *policy.Role {
	return role(t, "writer", policy.PermissionSpec{Actions: []string{"orders:write"}, Resources: []string{"orders/**"}})
}

func reader(t testing.TB) *policy.Role {
	return role(t, "reader", policy.PermissionSpec{Actions: []string{"orders:read"}, Resources: []string{"orders/**"}})
}

// stage is an engine on a journal.
type stage struct {
	*actors.Engine
	journal *journal.Journal
	ended   bool
}

func open(t testing.TB, files vfs.FS, o journal.Options) *stage {
	s, err := tryOpen(files, o)
	require.NoError(t, err)
	t.Cleanup(func() { s.end(t) })
	return s
}

func tryOpen(files vfs.FS, o journal.Options) (*stage, error) {
	if o.Logger == nil {
		o.Logger = quiet
	}
	j, err := journal.Open("data", o.On(files))
	if err != nil {
		return nil, err
	}
	e, err := actors.New(actors.Options{Log: j, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	return &stage{Engine: e, journal: j}, nil
}

// end closes engine and journal. A journal that failed says so.
func (s *stage) end(t testing.TB) {
	if s.ended {
		return
	}
	s.ended = true
	failure := s.Failure()
	require.NoError(t, s.Close(context.Background()))
	err := s.journal.Close()
	if failure != nil {
		require.ErrorIs(t, err, oplog.ErrUnavailable)
		return
	}
	require.NoError(t, err)
}

func (s *stage) update(t testing.TB, changes ...policy.Change) uint64 {
	r, err := s.Update(t.Context(), actors.Update{Changes: changes, Author: oplog.Author{Principal: admin, Credential: "f1"}})
	require.NoError(t, err)
	require.True(t, r.Quiesced)
	return r.Revision
}

func (s *stage) may(t testing.TB, who policy.Principal, action, resource string) bool {
	d, err := s.Decide(t.Context(), actors.Request{Principal: who, Action: action, Resource: resource})
	require.NoError(t, err)
	return d.Allowed
}

func grant(who policy.Principal, role string) policy.Change {
	return policy.GrantRole(policy.Grant{Principal: who, Role: role, Reason: "because"})
}

func revoke(who policy.Principal, role string) policy.Change {
	return policy.RevokeRole(policy.Grant{Principal: who, Role: role, Reason: "no more"})
}

func TestG5_AnUpdateOutlivesTheEngine(t *testing.T) {
	files := vfs.NewMem()
	s := open(t, files, journal.Options{})
	require.Zero(t, s.Revision())
	s.update(t, policy.PutRole(writer(t), ""), policy.PutRole(reader(t), ""))
	s.update(t, grant(alice, "writer"))
	identity := s.StoreID()
	s.end(t)

	s = open(t, files, journal.Options{})
	require.Equal(t, identity, s.StoreID())
	require.EqualValues(t, 2, s.Revision())
	require.True(t, s.may(t, alice, "orders:write", "orders/1"))
	require.False(t, s.may(t, bob, "orders:write", "orders/1"))
	receipt, err := s.Receipt(t.Context(), 2)
	require.NoError(t, err)
	require.True(t, receipt.Restarted && receipt.Quiesced)
	s.update(t, revoke(alice, "writer"))
	require.False(t, s.may(t, alice, "orders:write", "orders/1"))
	s.end(t)

	s = open(t, files, journal.Options{})
	require.False(t, s.may(t, alice, "orders:write", "orders/1"))
	v, err := s.journal.Verify(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, v.Entries)
	require.Equal(t, 1, v.Principals)
	for i := range 100 {
		s.update(t, grant(policy.MustPrincipal(fmt.Sprintf("user:u%d", i)), "reader"))
	}
	_, err = s.journal.Verify(t.Context())
	require.NoError(t, err)
}
