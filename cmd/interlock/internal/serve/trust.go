package serve

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
)

// newTrust loads the server's credentials, trust anchors and CRLs. The caller closes their source.
func newTrust(ctx context.Context, c *config.Config, log *slog.Logger) (trust *certs.Trust, closeSource func() error, err error) {
	identifier, err := c.Identifier()
	if err != nil {
		return nil, nil, err
	}
	files := certs.Files{Certificate: c.TLS.Certificate, Key: c.TLS.Key, TrustAnchors: c.TLS.TrustAnchors()}
	source, closeSource, err := c.TLS.WorkloadAPI.Join(ctx, files, log)
	if err != nil {
		return nil, nil, err
	}
	trust, err = certs.NewTrust(certs.TrustOptions{
		Source: source, CRLs: c.TLS.CRLs, AcceptStaleCRLs: c.TLS.AcceptsStaleCRLs(),
		Identifier: identifier, MinVersion: uint16(c.TLS.MinVersion), Logger: log,
	})
	if err != nil {
		return nil, nil, errors.Join(err, closeSource())
	}
	return trust, closeSource, nil
}

// reloadOnHangup reloads at each SIGHUP until ctx is done.
func reloadOnHangup(ctx context.Context, trust *certs.Trust, h *handlers, log *slog.Logger) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
		}
		if _, err := trust.Reload(); err != nil {
			log.Error("reload failed; certificates, CAs and CRLs are unchanged", slog.Any("error", err))
		}
		h.gateway.reload(log)
		h.proxied.reload(log)
	}
}
