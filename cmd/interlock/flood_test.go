package main

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// TestLimits_ConnectionsLeaveFilesForTheStore opens more connections, without TLS, than the process may have files. The store
// and an administrator still have theirs.
//
// SECURITY, line 26.
func TestLimits_ConnectionsLeaveFilesForTheStore(t *testing.T) {
	t.Parallel()
	k := &killed{t: t, dir: t.TempDir(), files: 200}
	k.start()
	admin := k.client()
	k.http.Timeout = 4 * time.Second // after 5 s the server closes the first connections
	var open []net.Conn
	defer func() {
		for _, conn := range open {
			_ = conn.Close()
		}
	}()
	for i := range 300 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(k.callers, "https://"))
		require.NoError(t, err)
		open = append(open, conn)
		if i%10 != 0 {
			continue
		}
		k.http.CloseIdleConnections() // so that the administrator connects again
		change := policy.ChangeSpec{Op: policy.OpGrant, Principal: "user:a", Role: policy.RoleRef{Name: "order-reader"}, Reason: strings.Repeat("x", i)}
		result, err := admin.Update(t.Context(), []policy.ChangeSpec{change}, client.UpdateOptions{})
		require.NoError(t, err, "after %d connections", i)
		require.True(t, result.Receipt.Quiesced)
	}
	_, _, err := admin.Backup(t.Context(), io.Discard)
	require.NoError(t, err, "it copies the store's files")
	v, err := admin.Verify(t.Context())
	require.NoError(t, err)
	require.Empty(t, v.Damage)
}
