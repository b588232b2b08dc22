package devca_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
)

func requireVerifies(t *testing.T, authority *devca.CA, leaf *x509.Certificate, usage x509.ExtKeyUsage) {
	t.Helper()
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: authority.Pool(), KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: leaf.NotBefore,
	})
	require.NoError(t, err)
}

// requireLeaf demands what all issued certificates have in common.
func requireLeaf(t *testing.T, authority *devca.CA, leaf *x509.Certificate) {
	t.Helper()
	require.False(t, leaf.IsCA)
	require.True(t, leaf.BasicConstraintsValid)
	require.Equal(t, x509.KeyUsageDigitalSignature, leaf.KeyUsage)
	require.Equal(t, elliptic.P256(), leaf.PublicKey.(*ecdsa.PublicKey).Curve)
	require.Len(t, leaf.SubjectKeyId, 20)
	require.NotEqual(t, leaf.SubjectKeyId, leaf.AuthorityKeyId)
	require.Equal(t, authority.Certificate().SubjectKeyId, leaf.AuthorityKeyId)
	require.Empty(t, leaf.Subject.CommonName)
}

func TestIssueServer(t *testing.T) {
	authority, _ := newAuthority(t)
	tests := map[string]struct {
		leaf devca.ServerOptions
		good []string
		bad  []string
	}{
		"default":  {devca.ServerOptions{}, []string{"localhost", "127.0.0.1", "::1"}, []string{"example.org"}},
		"DNS name": {devca.ServerOptions{DNSNames: []string{"api.example.org"}}, []string{"api.example.org"}, []string{"localhost"}},
		"address":  {devca.ServerOptions{IPs: []net.IP{net.ParseIP("10.1.2.3")}}, []string{"10.1.2.3"}, []string{"127.0.0.1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pair, err := authority.IssueServer(test.leaf)
			require.NoError(t, err)
			leaf := parseLeaf(t, pair)
			requireLeaf(t, authority, leaf)
			requireVerifies(t, authority, leaf, x509.ExtKeyUsageServerAuth)
			require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, leaf.ExtKeyUsage)
			for _, host := range test.good {
				require.NoError(t, leaf.VerifyHostname(host))
			}
			for _, host := range test.bad {
				require.Error(t, leaf.VerifyHostname(host))
			}
		})
	}
}

// What the CA certifies for clients is what the identifier reads.
func TestIssueClient(t *testing.T) {
	authority, _ := newAuthority(t)
	tests := map[string]devca.ClientOptions{
		alice:               {SPIFFEID: alice},
		"dns:alice.example": {DNSNames: []string{"alice.example"}},
	}
	for want, leaf := range tests {
		t.Run(want, func(t *testing.T) {
			cert := parseLeaf(t, issueClient(t, authority, leaf))
			requireLeaf(t, authority, cert)
			requireVerifies(t, authority, cert, x509.ExtKeyUsageClientAuth)
			got, err := newIdentifier(t, certs.RuleDNS).Identify([]*x509.Certificate{cert, authority.Certificate()})
			require.NoError(t, err)
			require.Equal(t, want, got.Name)
		})
	}
}

func TestIssueClientRefusesNames(t *testing.T) {
	authority, _ := newAuthority(t)
	tests := map[string]devca.ClientOptions{
		"nothing":            {},
		"both":               {SPIFFEID: alice, DNSNames: []string{"alice.example"}},
		"upper-case domain":  {SPIFFEID: "spiffe://Example.org/alice"},
		"slash at the end":   {SPIFFEID: alice + "/"},
		"empty fragment":     {SPIFFEID: alice + "#"},
		"whole trust domain": {SPIFFEID: "spiffe://example.org"},
		"other URI":          {SPIFFEID: "https://example.org/alice"},
		"no URI":             {SPIFFEID: "spiffe://%zz"},
		"wildcard":           {DNSNames: []string{"*.example.org"}},
		"second name bad":    {DNSNames: []string{"a.example", "B.example"}},
	}
	for name, leaf := range tests {
		t.Run(name, func(t *testing.T) {
			pair, err := authority.IssueClient(leaf)
			require.Zero(t, pair)
			require.ErrorIs(t, err, devca.ErrName)
		})
	}
}

func TestIssueServerRefusesNames(t *testing.T) {
	authority, _ := newAuthority(t)
	tests := map[string]devca.ServerOptions{
		"wildcard":   {DNSNames: []string{"*.example.org"}},
		"upper case": {DNSNames: []string{"API.example.org"}},
		"no address": {IPs: []net.IP{{1, 2, 3}}},
	}
	for name, leaf := range tests {
		t.Run(name, func(t *testing.T) {
			pair, err := authority.IssueServer(leaf)
			require.Zero(t, pair)
			require.ErrorIs(t, err, devca.ErrName)
		})
	}
}

func TestIssueLifetime(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	authority, err := devca.Init(t.TempDir(), devca.Options{Lifetime: 40 * 24 * time.Hour, Now: at(now)})
	require.NoError(t, err)
	tests := map[string]struct {
		lifetime, want time.Duration
		now            time.Time
	}{
		"default":             {0, devca.DefaultLeafLifetime, now},
		"second":              {time.Second, time.Second, now},
		"fraction":            {1500 * time.Millisecond, time.Second, now},
		"longest":             {devca.MaxLeafLifetime, devca.MaxLeafLifetime, now},
		"longer":              {devca.MaxLeafLifetime + 1, 0, now},
		"negative":            {-1, 0, now},
		"up to the end":       {time.Hour, time.Hour, now.Add(40*24*time.Hour - time.Hour)},
		"beyond the end":      {time.Hour, 0, now.Add(40 * 24 * time.Hour)},
		"before it was begun": {time.Hour, time.Hour, now.Add(-24 * time.Hour)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client, err := authority.IssueClient(devca.ClientOptions{SPIFFEID: alice, Lifetime: test.lifetime, Now: at(test.now)})
			_, serverErr := authority.IssueServer(devca.ServerOptions{Lifetime: test.lifetime, Now: at(test.now)})
			if test.want == 0 {
				require.ErrorIs(t, err, devca.ErrLifetime)
				require.ErrorIs(t, serverErr, devca.ErrLifetime)
				require.Zero(t, client)
				return
			}
			require.NoError(t, err)
			require.NoError(t, serverErr)
			leaf := parseLeaf(t, client)
			require.Equal(t, test.now, leaf.NotBefore)
			require.Equal(t, test.want, leaf.NotAfter.Sub(leaf.NotBefore))
		})
	}
}

// 64 serial numbers of 128 random bits: none twice, each of at most 128 bits, and all bits used.
func TestIssueSerialNumbers(t *testing.T) {
	authority, _ := newAuthority(t)
	seen := map[string]bool{}
	longest := 0
	for range 64 {
		serial := parseLeaf(t, issueClient(t, authority, devca.ClientOptions{SPIFFEID: alice})).SerialNumber
		require.False(t, seen[serial.String()])
		seen[serial.String()] = true
		longest = max(longest, serial.BitLen())
	}
	require.Equal(t, 128, longest)
}
