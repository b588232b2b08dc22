package httpapi

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
)

// quiesceTimeout bounds the wait, for the log only, until every operation under a revoked certificate has ended.
const quiesceTimeout = time.Minute

// UseTrust makes connections identify callers, and the engine revoke certificates, by what trust has loaded, now and after
// each reload. The engine revokes a certificate if a CRL does, if its CA is no trust anchor any more, or if its CA may no
// longer certify its name. UseTrust does not wait for the operations that this ends. A nil log is [slog.Default]. The
// error is the engine's, such as [actors.ErrClosed].
//
// The caller serves with the TLS configuration of [certs.Trust.ServerConfig] and runs [certs.Trust.Watch] until ctx is
// done.
func UseTrust(ctx context.Context, trust *certs.Trust, connections *Connections, engine *actors.Engine, log *slog.Logger) error {
	log = cmp.Or(log, slog.Default())
	return trust.OnReload(func(state *certs.TrustState) error {
		connections.Use(state.Identifier())
		r := &revocations{TrustState: state, disowned: map[policy.CertificateID]bool{}}
		for _, c := range connections.Reidentify() {
			r.disowned[c.IDs()[1]] = true
		}
		wait, err := engine.PublishRevocationLists(r)
		if err != nil {
			return err
		}
		go logEnded(ctx, wait, log)
		return nil
	})
}

// revocations are those of a trust state, and of certificates that connections came with and that no longer have an
// identity.
type revocations struct {
	*certs.TrustState
	disowned map[policy.CertificateID]bool
}

// Revoked implements [actors.RevocationLists].
func (r *revocations) Revoked(issuer, serial string) bool {
	return r.disowned[policy.CertificateID{Serial: serial, Issuer: issuer}] || r.TrustState.Revoked(issuer, serial)
}

// logEnded logs what ended because its certificate was revoked.
func logEnded(ctx context.Context, wait func(context.Context) (actors.Receipt, error), log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, quiesceTimeout)
	defer cancel()
	r, err := wait(ctx)
	switch {
	case errors.Is(err, actors.ErrNotQuiesced):
		log.Warn("operations under revoked certificates are still running", slog.Int("count", r.RunningCount))
	case err == nil && r.EndedCount+r.Connections > 0:
		log.Info("operations and connections under revoked certificates have ended",
			slog.Int("operations", r.EndedCount), slog.Int("connections", r.Connections))
	}
}
