package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/workload"
)

// The values of tls.stale-crls: what happens to the certificates of a CA whose CRL is stale.
const (
	refuseStale = "refuse"
	acceptStale = "accept"
)

// agentTimeout bounds the wait for a Workload API at the start.
const agentTimeout = time.Minute

// newTrust loads the server's credentials, trust anchors and CRLs. The caller closes their source.
func newTrust(ctx context.Context, c *config, log *slog.Logger) (trust *certs.Trust, closeSource func() error, err error) {
	identifier, err := c.identifier()
	if err != nil {
		return nil, nil, err
	}
	files := certs.Files{Certificate: c.TLS.Certificate, Key: c.TLS.Key, TrustAnchors: c.TLS.bindings()}
	source, closeSource, err := c.TLS.WorkloadAPI.join(ctx, files, log)
	if err != nil {
		return nil, nil, err
	}
	trust, err = certs.NewTrust(certs.TrustOptions{
		Source: source, CRLs: c.TLS.CRLs, AcceptStaleCRLs: c.TLS.StaleCRLs == acceptStale,
		Identifier: identifier, MinVersion: minVersions[c.TLS.MinVersion], Logger: log,
	})
	if err != nil {
		return nil, nil, errors.Join(err, closeSource())
	}
	return trust, closeSource, nil
}

// join returns the Workload API, if one is configured, joined with another source, and a function that closes it.
func (c *workloadConfig) join(ctx context.Context, other certs.Source, log *slog.Logger) (certs.Source, func() error, error) {
	if c.Address == "" {
		return other, func() error { return nil }, nil
	}
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	log.Info("connecting to the Workload API", slog.String("address", c.Address))
	agent, err := workload.New(ctx, workload.Options{Address: c.Address, SPIFFEID: c.SPIFFEID, TrustDomains: c.TrustDomains, Logger: log})
	if err != nil {
		return nil, nil, fmt.Errorf("tls.workload-api: %w", err)
	}
	return certs.Join(agent, other), agent.Close, nil
}

// reloadOnHangup reloads at each SIGHUP until ctx is done.
func reloadOnHangup(ctx context.Context, trust *certs.Trust, log *slog.Logger) {
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
	}
}
