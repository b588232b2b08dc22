package client_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/client"
)

// The function is also in docs/leases.md.

func migrate(ctx context.Context, server string, config *tls.Config, step func(context.Context) error) error {
	c, err := client.New(client.Options{BaseURL: server, TLS: config})
	if err != nil {
		return err
	}
	defer c.Close()
	operation := client.Evaluation{
		Action:   client.Action{Name: "orders:write"},
		Resource: client.Entity{Type: "orders", ID: "42", Properties: map[string]any{"amount": 12}},
	}
	return c.Execute(ctx, operation, func(ctx context.Context, lease *client.Lease) error {
		for range 3 {
			if err := lease.Check(); err != nil { // right before each step that has an effect
				return err
			}
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestTheFunctionOfTheDocs runs the function, and checks that docs/leases.md has it.
func TestTheFunctionOfTheDocs(t *testing.T) {
	released := make(chan struct{}, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPut:
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(`{"lease":"x","principal":"user:x","revision":7,"ttl":10}`))
		case http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
			released <- struct{}{}
		}
	}))
	defer s.Close()
	steps := 0
	require.NoError(t, migrate(t.Context(), s.URL, nil, func(ctx context.Context) error {
		steps++
		return ctx.Err()
	}))
	require.Equal(t, 3, steps)
	require.Len(t, released, 1)

	page, err := os.ReadFile("../../docs/leases.md")
	require.NoError(t, err)
	code, err := os.ReadFile("example_test.go")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	require.Len(t, blocks, 1)
	require.Contains(t, string(code), strings.TrimSpace(blocks[0][1]))
}
