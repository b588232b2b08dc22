package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/httpapi"
)

// trust is by what the server is known, and whom it knows: its own certificate, the
// authorities of its clients, their revocation lists. It is read anew when a file changes,
// all of it or nothing.
type trust struct {
	config      *tlsConfig
	identifier  *certs.Identifier
	connections *httpapi.Connections
	log         *slog.Logger

	mu       sync.Mutex
	now      *standing
	seen     [sha256.Size]byte // of the files, as they were read last
	broken   error             // why the files are not what is in use
	outdated []string          // authorities whose list should have been followed by another
}

// standing is what trust comes to until the next change. It is immutable.
type standing struct {
	tls         *tls.Config
	authorities *certs.Authorities
	lists       *certs.RevocationLists
	withdrawn   map[string]bool // authorities that were there before, by the SHA-256 of their keys
}

// Revoked implements [actors.RevocationLists].
func (s *standing) Revoked(issuer, serial string) bool {
	return s.withdrawn[issuer] || s.lists.Revoked(issuer, serial)
}

// What becomes of the certificates of an authority whose list is outdated.
const (
	refuseOutdated = "refuse"
	acceptOutdated = "accept"
)

// newTrust reads everything; a server does not start with a file that is not usable.
func newTrust(c *config, log *slog.Logger) (*trust, error) {
	identifier, err := certs.NewIdentifier(c.Identity...)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	t := &trust{config: &c.TLS, identifier: identifier, connections: httpapi.NewConnections(identifier), log: log}
	return t, t.read()
}

// server is the configuration for listeners: each handshake sees what stands then.
func (t *trust) server() *tls.Config {
	c := t.current().tls.Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.current().tls, nil }
	return c
}

func (t *trust) current() *standing {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now
}

// issuers are the authorities, as a revocation names them.
func (t *trust) issuers() []string { return t.current().authorities.Issuers() }

// files are all that is read.
func (t *trust) files() []string {
	files := []string{t.config.Certificate, t.config.Key}
	for _, b := range t.config.bindings() {
		files = append(files, b.File)
	}
	return append(files, t.config.RevocationLists...)
}

// read reads the files, and leaves everything as it was if one is not usable.
func (t *trust) read() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	digest, err := digestOf(t.files())
	if err == nil && t.now != nil && digest == t.seen {
		t.broken = nil
		return nil
	}
	var next *standing
	if err == nil {
		next, err = t.load()
	}
	t.broken = err
	if err != nil {
		return err
	}
	t.now, t.seen = next, digest
	t.connections.Use(t.identifier.Under(next.authorities))
	return nil
}

// load reads what follows on what stands now.
func (t *trust) load() (*standing, error) {
	authorities, err := certs.LoadAuthorities(t.config.bindings()...)
	if err != nil {
		return nil, err
	}
	s := &standing{authorities: authorities, withdrawn: map[string]bool{}}
	if s.tls, err = certs.ServerConfig(certs.ServerOptions{
		CertFile: t.config.Certificate, KeyFile: t.config.Key, ClientCAs: authorities.Pool(),
	}); err != nil {
		return nil, err
	}
	// A session of before is not resumed: it was begun under other authorities.
	var key [32]byte
	rand.Read(key[:]) // never fails, says its contract
	s.tls.SetSessionTicketKeys([][32]byte{key})
	var before *certs.RevocationLists
	if t.now != nil {
		before = t.now.lists
		for _, issuer := range append(t.now.authorities.Issuers(), keys(t.now.withdrawn)...) {
			s.withdrawn[issuer] = true
		}
	}
	for _, issuer := range authorities.Issuers() {
		delete(s.withdrawn, issuer)
	}
	s.lists, err = certs.LoadRevocationLists(authorities, before, t.config.RevocationLists...)
	return s, err
}

func keys(set map[string]bool) []string {
	all := make([]string, 0, len(set))
	for key := range set {
		all = append(all, key)
	}
	return all
}

// digestOf tells files that have changed from those that have not.
func digestOf(paths []string) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return sum, err
		}
		one := sha256.Sum256(text)
		h.Write(one[:])
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// fault is what an operator should know.
func (t *trust) fault() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	if t.broken != nil {
		errs = append(errs, fmt.Errorf("certificates, authorities and revocation lists are as they were before: %w", t.broken))
	}
	for _, issuer := range t.outdated {
		errs = append(errs, fmt.Errorf("the revocation list of %.120q is outdated", issuer))
	}
	return errors.Join(errs...)
}

// patienceForEnds bounds the wait until nothing runs any more that came by a certificate
// which is not good any longer.
const patienceForEnds = time.Minute

// use has the engine look at the lists, as they are at this moment.
func (t *trust) use(ctx context.Context, engine *actors.Engine) error {
	t.mu.Lock()
	s := *t.now
	lists, outdated := s.lists.At(time.Now())
	fresh := !slices.Equal(outdated, t.outdated)
	t.outdated = outdated
	t.mu.Unlock()
	accept := t.config.OutdatedLists == acceptOutdated
	if !accept {
		s.lists = lists
	}
	if fresh && len(outdated) > 0 {
		t.log.Error("revocation lists are outdated", slog.Any("issuers", outdated), slog.Bool("refused", !accept))
	}
	ctx, cancel := context.WithTimeout(ctx, patienceForEnds)
	defer cancel()
	r, err := engine.UseLists(ctx, &s)
	if errors.Is(err, actors.ErrNotQuiesced) {
		t.log.Warn("operations run still that came by certificates which are not good any more", slog.Int("count", r.RunningCount))
		return nil
	}
	if err == nil {
		t.log.Info("certificates, authorities and revocation lists are in use", slog.Int("authorities", len(s.authorities.Issuers())),
			slog.Int("revoked", s.lists.Len()), slog.Int("ended", r.EndedCount))
	}
	return err
}
