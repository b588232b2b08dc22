package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// childVariable makes this test binary a server of its own.
const childVariable = "INTERLOCK_WIRE_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := Serve(context.Background(), os.Args[1], os.Args[2], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command(ctx context.Context, name, dir string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], name, dir)
	// The race detector lets each process wait for a second at its end unless it is told.
	cmd.Env = append(os.Environ(), childVariable+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

func newTestSite(t *testing.T, callers int) *site {
	t.Helper()
	at, err := newSite(callers)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, at.close()) })
	return at
}

func start(t *testing.T, at *site, name string) *child {
	t.Helper()
	c, err := startChild(context.WithoutCancel(t.Context()), name, at.dir, command) // until it is stopped
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.stop()) })
	return c
}

// askOnce asks by a connection of its own.
func askOnce(t *testing.T, p *protocol, address string, config *tls.Config, q question) error {
	t.Helper()
	conn, err := p.dial(t.Context(), address, config, q)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	return conn.ask()
}
