package httpapi

import (
	"context"

	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// RequestID returns the ID of the request to which a context belongs: the X-Request-ID of its
// answer. It is empty if the request did not come through [NewServer].
func RequestID(ctx context.Context) string { return web.RequestID(ctx) }
