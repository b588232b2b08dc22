package certs

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// TrustOptions says what [NewTrust] loads and how a server uses it.
type TrustOptions struct {
	// Source gives the server's certificate and the trust anchors of clients. It is required.
	Source Source
	// CRLs are files, or folders of files, for [LoadCRLs]. There may be none.
	CRLs []string
	// AcceptStaleCRLs accepts the certificates of a CA whose next CRL is overdue, by its last CRL. By default all of them
	// are revoked, since nothing says which ones are.
	AcceptStaleCRLs bool
	// Identifier gives the rules that identify clients; nil is SPIFFE IDs only.
	Identifier *Identifier
	// MinVersion is as in [ServerOptions].
	MinVersion uint16
	// TicketRotation is how often the key of session tickets is replaced while nothing else changes; 0 is 24 h. After each
	// replacement, clients do a full handshake.
	TicketRotation time.Duration
	// Logger gets the outcome of each reload; nil discards it.
	Logger *slog.Logger
}

// Trust holds a server's credentials, the trust anchors of its clients and their CRLs, and rotates them while the server
// runs. All of it is one immutable [TrustState]: a reload replaces the whole state, or nothing if one part is not usable.
// After a replacement no session of before is resumed. Trust is safe for concurrent use.
//
// The caller runs [Trust.Watch], and connects what depends on the state with [Trust.OnReload]. httpapi.UseTrust does that
// for a server with an engine.
type Trust struct {
	options TrustOptions
	state   atomic.Pointer[TrustState]

	reloading sync.Mutex // held during a reload and its hooks; guards hooks and sums
	hooks     []func(*TrustState) error
	sums      [2][sha256.Size]byte // of the material and the CRLs in state

	mu     sync.Mutex // guards what follows
	counts ReloadCounts
	fault  error // why the last reload was rejected
}

// ReloadCounts counts the reloads since the start by their outcome, the first load included.
type ReloadCounts struct {
	// Loaded replaced the state, Unchanged found what was loaded before, Rejected kept the state because of an error.
	Loaded, Unchanged, Rejected uint64
}

// NewTrust loads everything. The errors are those of the source, of [LoadCRLs] and of [ServerConfig]; it is
// [ErrNoTrustAnchors] if the source gives none.
func NewTrust(opts TrustOptions) (*Trust, error) {
	if opts.Identifier == nil {
		opts.Identifier = &Identifier{}
	}
	if opts.TicketRotation == 0 {
		opts.TicketRotation = 24 * time.Hour
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Trust{options: opts}
	_, err := t.Reload()
	if err != nil {
		return nil, err
	}
	return t, nil
}

// State returns what is loaded now.
func (t *Trust) State() *TrustState { return t.state.Load() }

// ServerConfig returns the TLS configuration of a server, as [ServerConfig] makes it. Each handshake uses the state that is
// loaded at that moment.
func (t *Trust) ServerConfig() *tls.Config {
	config := t.State().tls.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.State().tls, nil }
	return config
}

// OnReload calls hook with the current state, and then with each new one before handshakes use it: when something was
// loaded, when the ticket key was replaced, and when a CRL became stale. If the first call fails, the hook is not
// registered. If a later call fails, the state stays as it was, and the reload is rejected with that error; the hooks that
// were called before have the new state until the next reload. Calls do not overlap. A hook must not call OnReload or
// Reload.
func (t *Trust) OnReload(hook func(*TrustState) error) error {
	t.reloading.Lock()
	defer t.reloading.Unlock()
	if err := hook(t.State()); err != nil {
		return err
	}
	t.hooks = append(t.hooks, hook)
	return nil
}

// Reload loads everything again and reports whether anything changed. After an error the state is as it was.
func (t *Trust) Reload() (changed bool, err error) { return t.reload(false) }

// reload is Reload. With force, it replaces the state, and so the key of session tickets, also if nothing changed.
func (t *Trust) reload(force bool) (changed bool, err error) {
	t.reloading.Lock()
	defer t.reloading.Unlock()
	next, sums, err := t.load()
	changed = err == nil && (force || sums != t.sums)
	if changed {
		err = t.publish(next)
	}
	t.record(changed, err)
	if err != nil {
		return false, err
	}
	t.sums = sums
	if changed {
		t.options.Logger.Info("certificates, CAs and CRLs loaded",
			slog.Int("trust_anchors", len(next.anchors.all)), slog.Int("revoked", next.crls.Len()))
	}
	return changed, nil
}

// record counts a reload by its outcome.
func (t *Trust) record(changed bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fault = err
	switch {
	case err != nil:
		t.counts.Rejected++
	case changed:
		t.counts.Loaded++
	default:
		t.counts.Unchanged++
	}
}

// publish replaces the state after every hook has accepted the next one.
func (t *Trust) publish(next *TrustState) error {
	for _, hook := range t.hooks {
		if err := hook(next); err != nil {
			return err
		}
	}
	last := t.state.Swap(next)
	if len(next.stale) > 0 && (last == nil || !slices.Equal(last.stale, next.stale)) {
		t.options.Logger.Error("CRLs are stale", slog.Any("issuers", next.stale), slog.Bool("accepted", t.options.AcceptStaleCRLs))
	}
	return nil
}

// load loads the state that follows the current one.
func (t *Trust) load() (next *TrustState, sums [2][sha256.Size]byte, err error) {
	m, err := t.options.Source.Load()
	if err != nil {
		return nil, sums, err
	}
	if m.TrustAnchors == nil {
		return nil, sums, fmt.Errorf("%w: no client could be verified", ErrNoTrustAnchors)
	}
	next = &TrustState{anchors: m.TrustAnchors, identifier: t.options.Identifier.Under(m.TrustAnchors)}
	var last *CRLs
	if now := t.State(); now != nil {
		last = now.loaded
		next.withdraw(now)
	}
	if next.loaded, err = LoadCRLs(m.TrustAnchors, last, t.options.CRLs...); err != nil {
		return nil, sums, err
	}
	next.tls, err = ServerConfig(ServerOptions{
		Certificate: m.Certificate, ClientCAs: m.TrustAnchors.Pool(), MinVersion: t.options.MinVersion,
	})
	if err != nil {
		return nil, sums, err
	}
	// A session of before must not be resumed: it began under other trust anchors.
	var key [32]byte
	rand.Read(key[:]) // never fails, by its contract
	next.tls.SetSessionTicketKeys([][32]byte{key})
	next.age(time.Now(), t.options.AcceptStaleCRLs)
	return next, [2][sha256.Size]byte{m.Sum(), next.loaded.Sum()}, nil
}

// Counts returns how many reloads there were.
func (t *Trust) Counts() ReloadCounts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}

// ReloadError returns why the last reload was rejected, nil if it was not. Until the next successful reload, the state is
// older than its source.
func (t *Trust) ReloadError() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fault
}

// Fault returns what an operator should know, nil if nothing: that the last reload was rejected, and which CRLs are stale.
func (t *Trust) Fault() error {
	var errs []error
	if err := t.ReloadError(); err != nil {
		errs = append(errs, fmt.Errorf("the last reload failed; certificates, CAs and CRLs are unchanged: %w", err))
	}
	for _, issuer := range t.State().stale {
		errs = append(errs, fmt.Errorf("the CRL of %.120q is stale", issuer))
	}
	return errors.Join(errs...)
}
