package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/workload"
	"github.com/interlock-authz/interlock/httpapi"
)

// trust is by what the server is known, and whom it knows: its own certificate, the
// authorities of its clients, their revocation lists. It is read anew when something
// changes, all of it or nothing.
type trust struct {
	config      *tlsConfig
	source      certs.Source
	identifier  *certs.Identifier
	connections *httpapi.Connections
	log         *slog.Logger
	close       func() error

	reading sync.Mutex // one reads at a time; nobody else waits for the files

	mu       sync.Mutex
	now      *standing
	seen     [2][sha256.Size]byte // what stands now: material and lists
	broken   error                // why that is not what there is
	outdated []string             // authorities whose list should have been followed by another
	looked   time.Time            // when that was found
	counts   trustCounts
}

// trustCounts are how often everything was read, by what came of it.
type trustCounts struct{ used, unchanged, refused uint64 }

// standing is what trust comes to until the next change. It is immutable.
type standing struct {
	tls         *tls.Config
	authorities *certs.TrustAnchors
	lists       *certs.CRLs
	// withdrawn are authorities that were there before, by the SHA-256 of their keys.
	withdrawn map[string]*x509.Certificate
	// disowned are certificates of connections whose authority may not certify their name any
	// more. Nobody comes by them anew: they are here for what they began.
	disowned map[policy.CertificateID]bool
}

// Revoked implements [actors.RevocationLists].
func (s *standing) Revoked(issuer, serial string) bool {
	return s.withdrawn[issuer] != nil || s.disowned[policy.CertificateID{Serial: serial, Issuer: issuer}] || s.lists.Revoked(issuer, serial)
}

// What becomes of the certificates of an authority whose list is outdated.
const (
	refuseOutdated = "refuse"
	acceptOutdated = "accept"
)

// patienceForAgent bounds the wait for a Workload API at the start.
const patienceForAgent = time.Minute

// newTrust reads everything; a server does not start with what is not usable. Whoever has a
// trust closes it.
func newTrust(ctx context.Context, c *config, log *slog.Logger) (*trust, error) {
	identifier, err := c.identifier()
	if err != nil {
		return nil, err
	}
	t := &trust{config: &c.TLS, identifier: identifier, connections: httpapi.NewConnections(identifier), log: log}
	files := certs.Files{Certificate: c.TLS.Certificate, Key: c.TLS.Key, TrustAnchors: c.TLS.bindings()}
	if t.source, t.close, err = c.TLS.WorkloadAPI.beside(ctx, files, log); err != nil {
		return nil, err
	}
	if _, err := t.read(); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// beside gives a Workload API as a source beside another, if one is configured, and what
// closes it.
func (c *workloadConfig) beside(ctx context.Context, other certs.Source, log *slog.Logger) (certs.Source, func() error, error) {
	if c.Address == "" {
		return other, func() error { return nil }, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patienceForAgent)
	defer cancel()
	log.Info("asking the Workload API", slog.String("address", c.Address))
	agent, err := workload.New(ctx, workload.Options{Address: c.Address, SPIFFEID: c.SPIFFEID, TrustDomains: c.TrustDomains, Logger: log})
	if err != nil {
		return nil, nil, fmt.Errorf("tls.workload-api: %w", err)
	}
	return certs.Join(agent, other), agent.Close, nil
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
func (t *trust) issuers() []string {
	s := t.current()
	return append(s.authorities.Issuers(), s.lists.Issuers()...)
}

// read reads everything, and leaves it as it was if something is not usable. It reports
// whether anything has changed.
func (t *trust) read() (changed bool, err error) {
	t.reading.Lock()
	defer t.reading.Unlock()
	next, seen, err := t.load()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.broken = err
	switch {
	case err != nil:
		t.counts.refused++
		return false, err
	case t.now != nil && seen == t.seen:
		t.counts.unchanged++
		return false, nil
	}
	t.counts.used++
	t.now, t.seen = next, seen
	t.connections.Use(t.identifier.Under(next.authorities))
	return true, nil
}

// load reads what follows on what stands now.
func (t *trust) load() (s *standing, seen [2][sha256.Size]byte, err error) {
	m, err := t.source.Load()
	if err != nil {
		return nil, seen, err
	}
	if m.TrustAnchors == nil {
		return nil, seen, fmt.Errorf("%w: no client could be verified", certs.ErrNoTrustAnchors)
	}
	s = &standing{authorities: m.TrustAnchors, withdrawn: map[string]*x509.Certificate{}}
	var before *certs.CRLs
	if now := t.current(); now != nil {
		before = now.lists
		s.withdraw(slices.Concat(now.authorities.Certificates(), slices.Collect(maps.Values(now.withdrawn))))
	}
	if s.lists, err = certs.LoadCRLs(m.TrustAnchors, before, t.config.RevocationLists...); err != nil {
		return nil, seen, err
	}
	o := t.config.serverOptions(m.TrustAnchors)
	o.Certificate = m.Certificate
	if s.tls, err = certs.ServerConfig(o); err != nil {
		return nil, seen, err
	}
	// A session of before is not resumed: it was begun under other authorities.
	var key [32]byte
	rand.Read(key[:]) // never fails, says its contract
	s.tls.SetSessionTicketKeys([][32]byte{key})
	return s, [2][sha256.Size]byte{m.Sum(), s.lists.Sum()}, nil
}

// withdraw notes those of authorities that are not trusted any more, nor are under one that is.
func (s *standing) withdraw(authorities []*x509.Certificate) {
	for _, cert := range authorities {
		key := fmt.Sprintf("%x", sha256.Sum256(cert.RawSubjectPublicKeyInfo))
		if !s.authorities.Trusts(cert) && !slices.Contains(s.authorities.Issuers(), key) {
			s.withdrawn[key] = cert
		}
	}
}

// overdue is when the next list becomes outdated, the zero time for never.
func (t *trust) overdue() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now.lists.NextUpdate(t.looked)
}

// health is what metrics say of it.
func (t *trust) health() (counts trustCounts, broken bool, outdated int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts, t.broken != nil, len(t.outdated)
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

// use has the engine look at the lists, as they are at this moment. It does not wait until
// all has ended that they revoke: the next list may come before.
func (t *trust) use(ctx context.Context, engine *actors.Engine) error {
	s, fresh := t.standingNow()
	s.disowned = map[policy.CertificateID]bool{}
	for _, c := range t.connections.Disowned() {
		s.disowned[c.IDs()[1]] = true
	}
	if fresh && len(s.outdated) > 0 {
		t.log.Error("revocation lists are outdated", slog.Any("issuers", s.outdated), slog.Bool("refused", !t.acceptsOutdated()))
	}
	wait, err := engine.PublishLists(&s.standing)
	if err != nil {
		return err
	}
	t.log.Info("certificates, authorities and revocation lists are in use",
		slog.Int("authorities", len(s.authorities.Issuers())), slog.Int("revoked", s.lists.Len()))
	go func() {
		ctx, cancel := context.WithTimeout(ctx, patienceForEnds)
		defer cancel()
		r, err := wait(ctx)
		switch {
		case errors.Is(err, actors.ErrNotQuiesced):
			t.log.Warn("operations run still that came by certificates which are not good any more", slog.Int("count", r.RunningCount))
		case err == nil && r.EndedCount+r.Connections > 0:
			t.log.Info("what came by certificates that are not good any more has ended",
				slog.Int("ended", r.EndedCount), slog.Int("connections", r.Connections))
		}
	}()
	return nil
}

// dated is what stands, as it is at a moment.
type dated struct {
	standing
	outdated []string
}

// standingNow reports besides whether other lists are outdated than at the last look.
func (t *trust) standingNow() (s dated, fresh bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.looked = time.Now()
	s.standing = *t.now
	var lists *certs.CRLs
	lists, s.outdated = t.now.lists.At(t.looked)
	fresh = !slices.Equal(s.outdated, t.outdated)
	t.outdated = s.outdated
	if !t.acceptsOutdated() {
		s.lists = lists
	}
	return s, fresh
}

func (t *trust) acceptsOutdated() bool { return t.config.OutdatedLists == acceptOutdated }
