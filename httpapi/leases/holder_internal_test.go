package leases

import (
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
)

// TestEndedIDsAreBounded fills the memory of one holder for IDs that have ended, and lets them be
// forgotten.
func TestEndedIDsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{perHolder: 10, maxTTL: time.Minute}
		h := s.holderOf(policy.MustPrincipal("user:alice"))
		defer h.mu.Unlock()
		h.leases[id{1}] = &lease{id: id{1}}
		for i := range maxRemembered - 1 {
			require.True(t, h.hasRoomFor(0))
			if i%100_000 == 0 {
				time.Sleep(10 * time.Second)
			}
			var x id
			binary.BigEndian.PutUint64(x[:], uint64(i+2))
			h.remember(x)
			h.remember(x) // counts once
		}
		require.False(t, h.hasRoomFor(0))
		delete(h.leases, id{1})
		h.remember(id{1}) // a lease that ends always has its place
		require.True(t, h.remembers(id{1}))
		require.Equal(t, maxRemembered, h.count)
		time.Sleep(s.maxTTL)
		h.expireIDs(time.Now())
		require.True(t, h.remembers(id{1}), "it is remembered for the longest TTL")
		require.Less(t, h.count, maxRemembered)
		require.True(t, h.hasRoomFor(0))
		time.Sleep(period + time.Second)
		h.expireIDs(time.Now())
		require.Zero(t, h.count)
		require.False(t, h.remembers(id{1}))
	})
}

// TestHoldersAreForgotten keeps nothing of a caller whose leases and IDs are over.
func TestHoldersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{maxTTL: time.Minute}
		alice := policy.MustPrincipal("user:alice")
		h := s.holderOf(alice)
		h.remember(id{1})
		h.mu.Unlock()
		h.tidy()
		require.False(t, h.gone)
		time.Sleep(2 * time.Minute)
		h.tidy()
		require.True(t, h.gone)
		again := s.holderOf(alice)
		defer again.mu.Unlock()
		require.NotSame(t, h, again)
	})
}
