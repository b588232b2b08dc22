package serve

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/leases"
)

// markFile is the file in the data folder that exists while remote leases may be out.
const markFile = "leases"

// openMark opens the mark in the data folder, nil without one. settle is how long leases of an earlier process may be out.
func openMark(c *config.Config, log *slog.Logger) (mark *leases.Mark, settle time.Duration, err error) {
	if *c.Data == "" {
		log.Info("no remote leases: a server without a data folder would forget them in a crash")
		return nil, 0, nil
	}
	mark, settle, err = leases.OpenMark(filepath.Join(*c.Data, markFile))
	if settle > 0 {
		log.Warn("the server did not stop cleanly while remote leases were out; no update is quiesced before they have expired",
			slog.Duration("settles", settle))
	}
	return mark, settle, err
}

// newLeases returns the server of remote leases, nil without a mark.
func newLeases(c *config.Config, engine *actors.Engine, connections *httpapi.Connections, mark *leases.Mark, log *slog.Logger) (*leases.Server, error) {
	if mark == nil {
		return nil, nil
	}
	return leases.New(leases.Options{
		Engine: engine, Identifier: connections, Mark: mark, Logger: log,
		MaxTTL: c.Leases.MaxTTL, PerHolder: c.Leases.PerHolder, Max: c.Leases.Max,
	})
}

// closeLeases refuses new leases and waits for the ones that are out, at most for the longest TTL.
func (h *handlers) closeLeases(ctx context.Context, log *slog.Logger) error {
	if h.leases == nil {
		return nil
	}
	if n := h.leases.Counts().Live; n > 0 {
		log.Info("waiting for remote leases", slog.Int("count", n))
	}
	ctx, cancel := context.WithTimeout(ctx, h.leases.MaxTTL()+time.Second)
	defer cancel()
	left, err := h.leases.Close(ctx)
	if left > 0 {
		return fmt.Errorf("%d remote leases are out after the longest TTL", left)
	}
	return err
}
