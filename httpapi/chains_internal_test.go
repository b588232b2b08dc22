package httpapi

import (
	"crypto/x509"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestChainsForgetClosedConnections drops the only reference to a chain, as the end of a
// connection does. The certificates stay in use.
func TestChainsForgetClosedConnections(t *testing.T) {
	leaf := &x509.Certificate{Raw: []byte("not a certificate of use")}
	c := NewConnections(nil)
	count := func() (n int) {
		c.chains.each(func(*identification) { n++ })
		return n
	}
	held := [][]*x509.Certificate{{leaf}, {leaf}, {leaf, leaf}}
	for _, chain := range held {
		require.Same(t, c.chains.identify(c, chain), c.chains.identify(c, chain))
	}
	require.NotSame(t, c.chains.identify(c, held[2]), c.chains.identify(c, held[2][:1]), "another chain at the same address")
	require.Equal(t, 3, count())
	runtime.GC()
	require.Equal(t, 3, count(), "they are in use")
	runtime.KeepAlive(held)
	require.Eventually(t, func() bool { runtime.GC(); return count() == 0 }, 10*time.Second, 10*time.Millisecond)
	runtime.KeepAlive(leaf)
}
