package certs_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
)

// listStage is a CA with the file of its list.
type listStage struct {
	*devca.CA
	t           *testing.T
	authorities *certs.TrustAnchors
	path        string
}

func newListStage(t *testing.T) *listStage {
	authority, dir := newAuthority(t)
	a, err := certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(dir, devca.CertFile)})
	require.NoError(t, err)
	return &listStage{CA: authority, t: t, authorities: a, path: filepath.Join(dir, "ca.crl")}
}

// write signs a list with a number and serial numbers.
func (s *listStage) write(number int64, serials ...int64) {
	var all []*big.Int
	for _, n := range serials {
		all = append(all, big.NewInt(n))
	}
	text, err := s.SignCRL(big.NewInt(number), all, time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
	require.NoError(s.t, err)
	writeFile(s.t, s.path, text, 0o600)
}

func (s *listStage) load(before *certs.CRLs) (*certs.CRLs, error) {
	return certs.LoadCRLs(s.authorities, before, s.path)
}

func (s *listStage) issuer() string { return s.authorities.Issuers()[0] }

func TestListsRevokeWhatTheyHold(t *testing.T) {
	s := newListStage(t)
	leaf := parseLeaf(t, issueClient(t, s.CA, devca.ClientOptions{SPIFFEID: "spiffe://a.example/alice"}))
	text, err := s.SignCRL(big.NewInt(1), []*big.Int{leaf.SerialNumber, big.NewInt(10), big.NewInt(0)}, time.Now(), time.Now().Add(time.Hour))
	require.NoError(t, err)
	writeFile(t, s.path, text, 0o600)
	lists, err := s.load(nil)
	require.NoError(t, err)
	require.Equal(t, 3, lists.Len())

	of, err := certs.CredentialsOf([]*x509.Certificate{leaf, s.Certificate()})
	require.NoError(t, err)
	require.True(t, lists.Revoked(hex.EncodeToString(of[0].IssuerSPKI[:]), of[0].Serial))
	other := hex.EncodeToString(make([]byte, 32))
	for _, c := range []struct {
		issuer, serial string
		revoked        bool
	}{
		{s.issuer(), "a", true}, {s.issuer(), "0a", true}, {s.issuer(), "0", true}, {s.issuer(), "b", false}, {other, "a", false},
		{s.issuer(), "x", true}, {"short", "b", true}, {s.issuer(), "01" + hex.EncodeToString(make([]byte, 20)), true},
	} {
		require.Equal(t, c.revoked, lists.Revoked(c.issuer, c.serial), "%v", c)
	}
}

// TestCRLs_CRLsAreCheckedBeforeTheyAreUsed names what is wrong with each.
// SECURITY, line 8.
func TestCRLs_CRLsAreCheckedBeforeTheyAreUsed(t *testing.T) {
	s := newListStage(t)
	stranger, _ := newAuthority(t)
	now := time.Now()
	sign := func(alter func(*x509.RevocationList)) []byte {
		return block("X509 CRL", s.sign(alter))
	}
	good := sign(func(*x509.RevocationList) {})
	foreign, err := stranger.SignCRL(big.NewInt(1), nil, now, now.Add(time.Hour))
	require.NoError(t, err)
	extension := func(critical bool, arcs ...int) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: arcs, Critical: critical, Value: []byte{2, 1, 1}}}
		}
	}
	for name, c := range map[string]struct {
		text []byte
		err  string
	}{
		"delta":              {sign(extension(true, 2, 5, 29, 27)), "is a delta"},
		"distribution point": {sign(extension(true, 2, 5, 29, 28)), "is of a distribution point"},
		"unknown extension":  {sign(extension(true, 1, 2, 3)), "critical extension 1.2.3"},
		"of a stranger":      {foreign, "not signed by a CA of clients"},
		"not yet":            {sign(func(l *x509.RevocationList) { l.ThisUpdate = now.Add(30 * time.Minute) }), "is in the future"},
		"twice":              {append(append([]byte{}, good...), good...), "two CRLs"},
		"a certificate":      {block("CERTIFICATE", s.Certificate().Raw), `a CRL is a "X509 CRL"`},
		"cut off":            {good[:len(good)/2], "damaged"},
		"flipped":            {block("X509 CRL", flipped(s.sign(func(*x509.RevocationList) {}))), "not signed by a CA of clients"},
		"nothing":            {nil, "empty"},
	} {
		t.Run(name, func(t *testing.T) {
			writeFile(t, s.path, c.text, 0o600)
			_, err := s.load(nil)
			var refused *certs.FileError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, s.path, refused.Path)
			require.ErrorContains(t, err, c.err)
		})
	}
	writeFile(t, s.path, sign(extension(false, 1, 2, 3)), 0o600)
	_, err = s.load(nil)
	require.NoError(t, err, "an extension that is not critical may be passed over")
	writeFile(t, s.path, s.sign(func(*x509.RevocationList) {}), 0o600)
	_, err = s.load(nil)
	require.NoError(t, err, "a list in DER")
}

// flipped changes the last byte, which is of the signature.
func flipped(der []byte) []byte {
	der[len(der)-1] ^= 1
	return der
}

// sign signs a list that crypto/x509 makes of an altered template.
func (s *listStage) sign(alter func(*x509.RevocationList)) []byte {
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	alter(template)
	pair, err := certs.LoadKeyPair(filepath.Join(filepath.Dir(s.path), devca.CertFile), filepath.Join(filepath.Dir(s.path), devca.KeyFile))
	require.NoError(s.t, err)
	der, err := x509.CreateRevocationList(rand.Reader, template, s.Certificate(), pair.PrivateKey.(crypto.Signer))
	require.NoError(s.t, err)
	return der
}

// TestCRLs_TheNumberOfACRLNeverGoesBack, nor does a list go away.
// SECURITY, line 8.
func TestCRLs_TheNumberOfACRLNeverGoesBack(t *testing.T) {
	s := newListStage(t)
	s.write(7, 1)
	seven, err := s.load(nil)
	require.NoError(t, err)
	s.write(6)
	_, err = s.load(seven)
	require.ErrorIs(t, err, certs.ErrCRL)
	require.ErrorContains(t, err, "has number 6, and the one before had 7")
	s.write(8, 1, 2)
	eight, err := s.load(seven)
	require.NoError(t, err)
	require.True(t, eight.Revoked(s.issuer(), "2"))
	_, err = certs.LoadCRLs(s.authorities, eight)
	require.ErrorIs(t, err, certs.ErrCRL)
	require.ErrorContains(t, err, "would be good again")
}

// TestCRLs_AStaleCRLRefuses checks that a stale CRL, which may miss revocations, refuses all.
// SECURITY, line 8.
func TestCRLs_AStaleCRLRefuses(t *testing.T) {
	s := newListStage(t)
	s.write(1, 1)
	lists, err := s.load(nil)
	require.NoError(t, err)
	next := lists.NextUpdate(time.Time{})
	require.Zero(t, lists.NextUpdate(next), "none comes after the last")
	require.Equal(t, next, lists.NextUpdate(next.Add(-time.Nanosecond)))
	before, outdated := lists.At(next.Add(-time.Second))
	require.Empty(t, outdated)
	require.False(t, before.Revoked(s.issuer(), "2"))
	after, outdated := lists.At(next)
	require.Len(t, outdated, 1)
	require.True(t, after.Revoked(s.issuer(), "2"))
	require.False(t, lists.Revoked(s.issuer(), "2"), "the lists themselves stay as they are")
	require.Zero(t, (&certs.CRLs{}).NextUpdate(time.Time{}))
}

// FuzzCertsRevocationList: whatever stands in a file, it is refused or signed by the CA.
func FuzzCertsRevocationList(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "CA")
	authority, err := devca.Init(dir, devca.Options{})
	require.NoError(f, err)
	a, err := certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(dir, devca.CertFile)})
	require.NoError(f, err)
	good, err := authority.SignCRL(big.NewInt(1), []*big.Int{big.NewInt(7)}, time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
	require.NoError(f, err)
	der, _ := pem.Decode(good)
	f.Add(good)
	f.Add(der.Bytes)
	path := filepath.Join(dir, "ca.crl")
	f.Fuzz(func(t *testing.T, data []byte) {
		writeFile(t, path, data, 0o600)
		lists, err := certs.LoadCRLs(a, nil, path)
		if err == nil && !lists.Revoked(a.Issuers()[0], "7") {
			t.Fatalf("a list that the CA has not signed: %q", data)
		}
	})
}

// BenchmarkRevoked looks up certificates in a list of a million.
func BenchmarkRevoked(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "CA")
	authority, err := devca.Init(dir, devca.Options{})
	require.NoError(b, err)
	a, err := certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(dir, devca.CertFile)})
	require.NoError(b, err)
	serials := make([]*big.Int, 1_000_000)
	for i := range serials {
		serials[i] = new(big.Int).Lsh(big.NewInt(int64(i)+1), 96)
	}
	text, err := authority.SignCRL(big.NewInt(1), serials, time.Now(), time.Now().Add(time.Hour))
	require.NoError(b, err)
	path := writeFile(b, filepath.Join(dir, "ca.crl"), text, 0o600)
	before := inUse()
	start := time.Now()
	lists, err := certs.LoadCRLs(a, nil, path)
	require.NoError(b, err)
	took := time.Since(start)
	held := inUse() - before
	start = time.Now()
	_, err = certs.LoadCRLs(a, lists, path)
	require.NoError(b, err)
	again := time.Since(start)
	runtime.KeepAlive(serials) // what was signed counts before and after
	runtime.KeepAlive(text)
	issuer := a.Issuers()[0]
	for i := 0; b.Loop(); i++ {
		lists.Revoked(issuer, fmt.Sprintf("%x000000000000000000000000", i%1_000_000+1))
	}
	b.ReportMetric(float64(held)/1e6, "MB")
	b.ReportMetric(took.Seconds(), "s/load")
	b.ReportMetric(again.Seconds(), "s/again")
}

func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestAnUnchangedCRLIsReused: whether it is stale does not matter.
func TestAnUnchangedCRLIsReused(t *testing.T) {
	s := newListStage(t)
	s.write(1, 1, 2)
	lists, err := s.load(nil)
	require.NoError(t, err)
	late, outdated := lists.At(lists.NextUpdate(time.Time{}))
	require.Len(t, outdated, 1)
	again, err := s.load(late)
	require.NoError(t, err)
	require.Equal(t, lists, again)
	_, err = certs.LoadCRLs(s.authorities, lists, s.path, s.path)
	require.ErrorContains(t, err, "two CRLs", "once for each CA still")
}
