package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs/devca"
)

// gatewayExample is the section gateway of the example, with its files in a folder.
func gatewayExample(t *testing.T, folder string) *Config {
	t.Helper()
	_, text, found := strings.Cut(Example, "# gateway:")
	require.True(t, found)
	text, _, found = strings.Cut("# gateway:"+text, "\nmax-queued")
	require.True(t, found)
	text = strings.ReplaceAll(text, "\n# ", "\n")[2:]
	path := filepath.Join(folder, "interlock.yaml")
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(text, "/etc/interlock", folder)), 0o600))
	c := Default()
	require.NoError(t, c.Load(path))
	return &c
}

func TestGatewayExample(t *testing.T) {
	folder := t.TempDir()
	c := gatewayExample(t, folder)
	require.Len(t, c.Gateway.Routes, 1)
	require.Equal(t, 5*time.Second, *c.Gateway.Routes[0].InFlight.Grace)
	var reader GatewayReader
	_, err := reader.Read(&c.Gateway)
	require.ErrorContains(t, err, "gateway.upstreams.orders: open "+folder+"/orders-ca.crt")

	ca, err := devca.Init(folder, devca.Options{})
	require.NoError(t, err)
	require.NoError(t, os.Rename(filepath.Join(folder, devca.CertFile), filepath.Join(folder, "orders-ca.crt")))
	issue := func() {
		pair, err := ca.IssueClient(devca.ClientOptions{SPIFFEID: "spiffe://interlock.test/gateway"})
		require.NoError(t, err)
		require.NoError(t, pair.Write(folder, "gateway", true))
	}
	issue()
	first, err := reader.Read(&c.Gateway)
	require.NoError(t, err)
	up := first.Upstreams["orders"]
	require.Equal(t, "orders.internal", up.TLS.ServerName)
	require.Len(t, up.TLS.Certificates, 1)
	require.Equal(t, "/healthz", up.Health.Path)
	require.Equal(t, "Order-Amount", first.Routes[0].Properties["amount"].Header)

	again, err := c.Again()
	require.NoError(t, err)
	second, err := reader.Read(&again.Gateway)
	require.NoError(t, err)
	require.Same(t, up.TLS, second.Upstreams["orders"].TLS, "the files are as they were")
	issue()
	third, err := reader.Read(&again.Gateway)
	require.NoError(t, err)
	require.NotSame(t, up.TLS, third.Upstreams["orders"].TLS, "another certificate")
}

func TestInFlight(t *testing.T) {
	for text, want := range map[string]*time.Duration{
		"": nil, "cancel": new(time.Duration), "grace 5s": new(5 * time.Second), "finish 1m": new(time.Minute),
	} {
		var f InFlight
		require.NoError(t, f.UnmarshalText([]byte(text)))
		require.Equal(t, want, f.Grace, text)
	}
	for _, text := range []string{"cancel 5s", "grace", "grace 5", "finish soon", "5s", "grace:5s"} {
		require.Error(t, new(InFlight).UnmarshalText([]byte(text)), text)
	}
}
