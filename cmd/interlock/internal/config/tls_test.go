package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
)

// SECURITY, line 9.
func TestTLS_UnknownVersionsAreRejected(t *testing.T) {
	for text, fault := range map[string]string{
		`min-version: "1.1"`:  `tls.min-version is "1.1"; it must be "1.3" or "1.2"`,
		`min-version: TLS1.2`: `tls.min-version is "TLS1.2"; it must be "1.3" or "1.2"`,
		`min-version: "1.2"`:  "",
		`min-version: "1.3"`:  "",
	} {
		path := filepath.Join(t.TempDir(), "interlock.yaml")
		require.NoError(t, os.WriteFile(path, []byte("tls:\n  certificate: x\n  key: x\n  client-ca: x\n  "+text+"\n"), 0o600))
		c := Default()
		require.NoError(t, c.Load(path))
		if fault == "" {
			require.NoError(t, c.Check())
			continue
		}
		require.EqualError(t, c.Check(), fault)
	}
	path := filepath.Join(t.TempDir(), "number.yaml")
	require.NoError(t, os.WriteFile(path, []byte("tls:\n  min-version: 1.2\n"), 0o600))
	c := Default()
	require.ErrorContains(t, c.Load(path), "number.yaml:2:16: tls.min-version: must be text, and 1.2 is not: put it in quotes")
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
