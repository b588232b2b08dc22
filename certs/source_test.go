package certs_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
)

// watched runs a source's Watch; each change that it tells of comes on the channel.
func watched(t *testing.T, s certs.Source) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	changes, ended := make(chan struct{}, 100), make(chan struct{})
	go func() {
		defer close(ended)
		s.Watch(ctx, func() { changes <- struct{}{} })
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	awaitChange(t, changes) // from now on it watches
	return changes
}

func awaitChange(t *testing.T, changes <-chan struct{}) {
	t.Helper()
	select {
	case <-changes:
	case <-time.After(10 * time.Second):
		require.Fail(t, "no change was seen")
	}
}

func TestFilesAreASource(t *testing.T) {
	authority, dir := newAuthority(t)
	pair, err := authority.IssueServer(devca.ServerOptions{})
	require.NoError(t, err)
	require.NoError(t, pair.Write(dir, "server", false))
	files := certs.Files{
		Certificate: filepath.Join(dir, "server.crt"), Key: filepath.Join(dir, "server.key"),
		TrustAnchors: []certs.Binding{{File: filepath.Join(dir, devca.CertFile)}},
	}
	before, err := files.Load()
	require.NoError(t, err)
	again, err := files.Load()
	require.NoError(t, err)
	require.Equal(t, before.Sum(), again.Sum())

	changes := watched(t, files)
	renewed, err := authority.Renew(before.Certificate.Leaf, 0)
	require.NoError(t, err)
	require.NoError(t, renewed.Write(dir, "server", true))
	awaitChange(t, changes)
	after, err := files.Load()
	require.NoError(t, err)
	require.NotEqual(t, before.Sum(), after.Sum())

	bound := files
	bound.TrustAnchors = []certs.Binding{{File: files.TrustAnchors[0].File, TrustDomains: []string{"a.example"}}}
	narrower, err := bound.Load()
	require.NoError(t, err)
	require.NotEqual(t, after.Sum(), narrower.Sum(), "the same CA, for other names")

	writeFile(t, files.Certificate, []byte("half"), 0o644)
	awaitChange(t, changes)
	_, err = files.Load()
	require.ErrorIs(t, err, certs.ErrDamaged)
	nothing, err := certs.Files{}.Load()
	require.NoError(t, err)
	require.Zero(t, nothing)
	_, err = certs.Files{Key: "x"}.Load()
	require.ErrorIs(t, err, certs.ErrHalfPair)
}

// TestFilesBehindLinksAreWatched has a folder as those make it who mount secrets: each file is
// a link into ..data, which is a link that is turned.
func TestFilesBehindLinksAreWatched(t *testing.T) {
	dir := t.TempDir()
	version := func(name string) {
		authority, from := newAuthority(t)
		require.NotNil(t, authority)
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		writeFile(t, filepath.Join(dir, name, "ca.crt"), readFile(t, filepath.Join(from, devca.CertFile)), 0o644)
	}
	turn := func(to string) {
		require.NoError(t, os.Symlink(to, filepath.Join(dir, "..new")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")))
	}
	version("..1")
	version("..2")
	turn("..1")
	require.NoError(t, os.Symlink("..data/ca.crt", filepath.Join(dir, "ca.crt")))
	for _, path := range []string{filepath.Join(dir, "ca.crt"), dir} {
		files := certs.Files{TrustAnchors: []certs.Binding{{File: path}}}
		turn("..1")
		before, err := files.Load()
		require.NoError(t, err)
		changes := watched(t, files)
		turn("..2")
		awaitChange(t, changes)
		after, err := files.Load()
		require.NoError(t, err)
		require.NotEqual(t, before.Sum(), after.Sum())
	}
}

// TestFilesInALinkedFolderAreWatched has a folder that is a link itself.
func TestFilesInALinkedFolderAreWatched(t *testing.T) {
	dir := t.TempDir()
	live := filepath.Join(dir, "live")
	for _, version := range []string{"1", "2"} {
		_, from := newAuthority(t)
		require.NoError(t, os.Mkdir(filepath.Join(dir, version), 0o755))
		writeFile(t, filepath.Join(dir, version, "ca.crt"), readFile(t, filepath.Join(from, devca.CertFile)), 0o644)
	}
	require.NoError(t, os.Symlink("1", live))
	files := certs.Files{TrustAnchors: []certs.Binding{{File: filepath.Join(live, "ca.crt")}}}
	changes := watched(t, files)
	require.NoError(t, os.Symlink("2", live+".new"))
	require.NoError(t, os.Rename(live+".new", live))
	awaitChange(t, changes)
	_, from := newAuthority(t)
	writeFile(t, filepath.Join(dir, "2", "ca.crt"), readFile(t, filepath.Join(from, devca.CertFile)), 0o644)
	awaitChange(t, changes) // where the link leads now
}

func TestAFolderIsWatched(t *testing.T) {
	authority, from := newAuthority(t)
	require.NotNil(t, authority)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "one.crt"), readFile(t, filepath.Join(from, devca.CertFile)), 0o644)
	changes := watched(t, certs.Files{TrustAnchors: []certs.Binding{{File: dir}}})
	_, from = newAuthority(t)
	writeFile(t, filepath.Join(dir, "two.crt"), readFile(t, filepath.Join(from, devca.CertFile)), 0o644)
	awaitChange(t, changes)
}

// given is a source that a test changes.
type given struct {
	material certs.Material
	err      error
	changed  chan struct{}
}

func (g *given) Load() (certs.Material, error) { return g.material, g.err }

func (g *given) Watch(ctx context.Context, changed func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.changed:
			changed()
		}
	}
}

func TestJoin(t *testing.T) {
	a, aDir := newAuthority(t)
	b, bDir := newAuthority(t)
	pair, err := a.IssueServer(devca.ServerOptions{})
	require.NoError(t, err)
	require.NoError(t, pair.Write(aDir, "server", false))
	first := certs.Files{
		Certificate: filepath.Join(aDir, "server.crt"), Key: filepath.Join(aDir, "server.key"),
		TrustAnchors: []certs.Binding{{File: filepath.Join(aDir, devca.CertFile), TrustDomains: []string{"a.example"}}},
	}
	second := &given{changed: make(chan struct{})}
	second.material.TrustAnchors, err = certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(bDir, devca.CertFile), TrustDomains: []string{"b.example"}})
	require.NoError(t, err)
	both := certs.Join(first, second)
	m, err := both.Load()
	require.NoError(t, err)
	require.Equal(t, pair.CertPEM, encode(m.Certificate.Leaf))
	require.Len(t, m.TrustAnchors.Issuers(), 2)
	id := new(certs.Identifier).Under(m.TrustAnchors)
	for name, of := range map[string]*devca.CA{"spiffe://a.example/x": a, "spiffe://b.example/x": b} {
		for _, by := range []*devca.CA{a, b} {
			leaf := parseLeaf(t, issueClient(t, by, devca.ClientOptions{SPIFFEID: name}))
			_, err := id.Identify([]*x509.Certificate{leaf, by.Certificate()})
			require.Equal(t, by == of, err == nil, "%s by its own alone", name)
		}
	}

	changes := watched(t, both)
	second.changed <- struct{}{}
	awaitChange(t, changes)
	second.err = errors.New("broken")
	_, err = both.Load()
	require.ErrorContains(t, err, "broken", "one that is not usable makes all not usable")

	_, err = certs.Join(second, first).Load()
	require.ErrorContains(t, err, "broken")
	second.err, second.material.Certificate = nil, tls.Certificate{Certificate: [][]byte{{1}}}
	m, err = both.Load()
	require.NoError(t, err)
	require.Equal(t, pair.CertPEM, encode(m.Certificate.Leaf), "that of the first")
}

// TestARecreatedFolderIsWatched removes and recreates a folder between two checks.
func TestARecreatedFolderIsWatched(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "above", "in")
	path := filepath.Join(in, "ca.crt")
	exchange := func() {
		require.NoError(t, os.RemoveAll(filepath.Dir(in)))
		require.NoError(t, os.MkdirAll(in, 0o755))
		_, from := newAuthority(t)
		writeFile(t, path, readFile(t, filepath.Join(from, devca.CertFile)), 0o644)
	}
	exchange()
	changes := watched(t, certs.Files{TrustAnchors: []certs.Binding{{File: path}}})
	require.NoError(t, os.RemoveAll(filepath.Dir(in)))
	awaitChange(t, changes)
	exchange()
	awaitChange(t, changes)
	drain(changes)
	_, from := newAuthority(t)
	writeFile(t, path, readFile(t, filepath.Join(from, devca.CertFile)), 0o644)
	awaitChange(t, changes)
}

func drain(changes <-chan struct{}) {
	for {
		select {
		case <-changes:
		case <-time.After(300 * time.Millisecond): // longer than files are left alone
			return
		}
	}
}

// TestTargetsOfLinksAreWatched overwrites the target of a symbolic link in place.
func TestTargetsOfLinksAreWatched(t *testing.T) {
	_, from := newAuthority(t)
	target, link := filepath.Join(t.TempDir(), "real.crt"), filepath.Join(t.TempDir(), "ca.crt")
	writeFile(t, target, readFile(t, filepath.Join(from, devca.CertFile)), 0o644)
	require.NoError(t, os.Symlink(target, link))
	changes := watched(t, certs.Files{TrustAnchors: []certs.Binding{{File: link}}})
	_, from = newAuthority(t)
	writeFile(t, target, readFile(t, filepath.Join(from, devca.CertFile)), 0o644)
	awaitChange(t, changes)
}
