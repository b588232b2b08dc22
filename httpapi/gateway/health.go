package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// check checks the health of an address regularly, until ctx is done.
func (a *address) check(ctx context.Context, name string, log *slog.Logger) {
	ticker := time.NewTicker(max(a.options.Health.Interval, time.Millisecond))
	defer ticker.Stop()
	for {
		err := a.probe(ctx)
		if ctx.Err() != nil {
			return
		}
		if failed := err != nil; a.unhealthy.Swap(failed) != failed {
			level, text := slog.LevelInfo, "an upstream is healthy"
			if failed {
				level, text = slog.LevelWarn, "an upstream is unhealthy"
			}
			log.Log(ctx, level, text, slog.String("upstream", name), slog.String("address", a.target), slog.Any("cause", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// probe asks an address once, on a connection of its own.
func (a *address) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.options.Health.Timeout)
	defer cancel()
	c, err := dial(ctx, a.transport, a.scheme, a.target, a.options.Health.Timeout)
	if err != nil {
		return err
	}
	defer func() { _ = c.client.Close() }()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.scheme+"://"+a.target+a.options.Health.Path, nil)
	if err != nil {
		return err
	}
	response, err := c.client.RoundTrip(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	if response.StatusCode < 200 || response.StatusCode > 399 {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}
