package config

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
)

// SECURITY, line 9.
func TestTLS_UnknownVersionsAreRejected(t *testing.T) {
	load := func(line string) (Config, error) {
		path := filepath.Join(t.TempDir(), "interlock.yaml")
		require.NoError(t, os.WriteFile(path, []byte("tls:\n  certificate: x\n  key: x\n  client-ca: x\n  "+line+"\n"), 0o600))
		c := Default()
		err := c.Load(path)
		return c, err
	}
	for line, want := range map[string]Version{
		`min-version: "1.2"`: tls.VersionTLS12, `min-version: 1.2`: tls.VersionTLS12, `min-version: '1.3'`: tls.VersionTLS13,
		`min-version: 1.3`: tls.VersionTLS13, `min-version: ""`: 0, `min-version:`: 0,
	} {
		c, err := load(line)
		require.NoError(t, err, line)
		require.NoError(t, c.Check())
		require.Equal(t, want, c.TLS.MinVersion, line)
		text, err := c.TLS.MinVersion.MarshalText()
		require.NoError(t, err)
		var again Version
		require.NoError(t, again.UnmarshalText(text))
		require.Equal(t, want, again)
	}
	for line, shown := range map[string]string{
		`min-version: "1.1"`: "1.1", `min-version: TLS1.2`: "TLS1.2", `min-version: 1.20`: "1.20", `min-version: +1.2`: "+1.2",
		`min-version: 12e-1`: "12e-1", `min-version: 1`: "1", `min-version: true`: "true",
	} {
		_, err := load(line)
		require.ErrorContains(t, err, fmt.Sprintf("interlock.yaml:5:16: tls.min-version: %q is not possible here: must be 1.3 or 1.2", shown))
	}
	_, err := load("min-version: [1.2]")
	require.ErrorContains(t, err, "interlock.yaml:5:16: tls.min-version: must be a single value")
}

func TestServerHasOneCertificate(t *testing.T) {
	c := Default()
	c.TLS = TLS{Certificate: "server.crt", WorkloadAPI: WorkloadAPI{Address: "unix:///agent.sock"}}
	require.ErrorContains(t, c.Check(), "tls.certificate and tls.workload-api.address are both set")
	c.TLS.Certificate, c.TLS.ClientCA = "", "ca.crt"
	require.ErrorContains(t, c.Check(), "tls.client-ca and tls.workload-api.address are both set")
	c.TLS.ClientCA, c.TLS.ClientCAs = "", []certs.Binding{{File: "partner.crt"}}
	require.NoError(t, c.Check())
	c.TLS.ClientCAs, c.TLS.WorkloadAPI = nil, WorkloadAPI{TrustDomains: []string{"a.example"}}
	require.ErrorContains(t, c.Check(), "tls.workload-api.address is not set")
}
