package admin

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// previewAtOne answers a dry run at revision 1, at which there was no role. Its current policy is at the revision of
// the ETag, and has the role reader.
func previewAtOne(etag string, past http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", etag)
		switch {
		case r.Method == http.MethodPut:
			w.Header().Set("Content-Type", client.MediaJSON)
			_, _ = io.WriteString(w, `{"dryRun":true,"at":1,"changes":[{"op":"put-role","role":{"name":"reader","permissions":[]}}],"wouldEnd":[]}`)
		case r.Method == http.MethodGet && r.URL.Query().Has("at"):
			past(w, r)
		case r.Method == http.MethodGet:
			_, _ = io.WriteString(w, oneLine+`{"end":{"roles":1,"grants":0,"revision":2}}`+"\n")
		}
	}
}

func TestApply_ADryRunComparesWithTheRevisionOfThePreview(t *testing.T) {
	dryRun := func(t *testing.T, serve http.HandlerFunc) (stdout, stderr string, err error) {
		f := newFakeAdmin(t, serve)
		require.NoError(t, os.WriteFile(filepath.Join(f.dir, "policy.yaml"), []byte("roles: {reader: {}}\n"), 0o600))
		cmd, errors := f.command("apply", "policy.yaml", "--dry-run")
		out, err := cmd.Output()
		return string(out), errors.String(), err
	}
	t.Run("the policy has changed since", func(t *testing.T) {
		stdout, stderr, err := dryRun(t, previewAtOne(`"STORE.2"`, func(w http.ResponseWriter, r *http.Request) {
			require.Equal(t, "1", r.URL.Query().Get("at"))
			_, _ = io.WriteString(w, `{"end":{"roles":0,"grants":0,"revision":1}}`+"\n")
		}))
		require.NoError(t, err, stderr)
		require.Equal(t, "dry run at revision 1, would change:\n  role reader: new\n", stdout)
	})
	t.Run("the policy has changed and the server keeps no past", func(t *testing.T) {
		_, stderr, err := dryRun(t, previewAtOne(`"STORE.2"`, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotImplemented)
			_, _ = io.WriteString(w, `{"type":"`+client.ProblemType("no-history")+`"}`)
		}))
		requireExit(t, err, cli.Error)
		require.Equal(t, "error: the policy has changed since revision 1, and the server does not keep that revision\n"+
			"hint:  run the command again\n", stderr)
	})
	t.Run("the policy has not changed", func(t *testing.T) {
		stdout, stderr, err := dryRun(t, previewAtOne(`"STORE.1"`, func(http.ResponseWriter, *http.Request) {
			t.Error("asked for a past policy")
		}))
		require.NoError(t, err, stderr)
		require.Equal(t, "dry run at revision 1: no changes\n", stdout)
	})
}
