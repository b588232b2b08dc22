package admin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

const oneLine = `{"role":{"name":"reader"}}` + "\n"

func TestExport_InterruptedLeavesAnExistingFile(t *testing.T) {
	for _, before := range []string{"", "an existing file"} {
		began := make(chan struct{}, 1)
		f := newFakeAdmin(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, oneLine)
			_ = http.NewResponseController(w).Flush()
			began <- struct{}{}
			<-r.Context().Done()
		})
		want := []string{}
		if before != "" {
			want = append(want, "policy.ndjson")
			require.NoError(t, os.WriteFile(filepath.Join(f.dir, "policy.ndjson"), []byte(before), 0o600))
		}
		cmd, stderr := f.command("export", "policy.ndjson")
		require.NoError(t, cmd.Start())
		<-began
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		requireExit(t, cmd.Wait(), cli.Error)
		require.Equal(t, "error: interrupted\n", stderr.String())
		f.requireFiles(want...)
		if before != "" {
			text, err := os.ReadFile(filepath.Join(f.dir, "policy.ndjson"))
			require.NoError(t, err)
			require.Equal(t, before, string(text))
		}
	}
}

func TestApply_InterruptedSendsNoEnd(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	broke := make(chan error, 1)
	f := newFakeAdmin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"store.1"`)
		if r.Method == http.MethodHead {
			return
		}
		_, _ = r.Body.Read(make([]byte, 1))
		close(began)
		<-ended
		_, err := io.Copy(io.Discard, r.Body)
		broke <- err
	})
	const grants = 500_000 // more than the buffers of the connection hold
	text := strings.Repeat(`{"grant":{"principal":"user:x","role":"x"}}`+"\n", grants) + fmt.Sprintf(`{"end":{"roles":0,"grants":%d}}`, grants)
	require.NoError(t, os.WriteFile(filepath.Join(f.dir, "policy.ndjson"), []byte(text), 0o600))
	cmd, stderr := f.command("apply", "policy.ndjson")
	require.NoError(t, cmd.Start())
	<-began
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	requireExit(t, cmd.Wait(), cli.Error)
	require.Equal(t, "error: interrupted\n", stderr.String())
	close(ended)
	require.ErrorIs(t, <-broke, io.ErrUnexpectedEOF)
}

func TestExport_IncompleteWritesNoFile(t *testing.T) {
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		want  string
	}{
		"without its end": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, oneLine)
		}, "error: export:2:1: syntax error: the last line"},
		"with lines missing": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, oneLine+`{"end":{"roles":1,"grants":1,"revision":1}}`+"\n")
		}, "error: export:2:1: end: invalid: there have to be 2 lines"},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, oneLine)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, "error: read the policy: unexpected EOF"},
		"refused": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
		}, "error: 403 Forbidden\nhint:  the certificate's principal lacks the right"},
	} {
		f := newFakeAdmin(t, c.serve)
		cmd, stderr := f.command("export", "policy.ndjson")
		requireExit(t, cmd.Run(), cli.Error)
		require.Contains(t, stderr.String(), c.want, name)
		f.requireFiles()
	}
}

func TestTransfer_StalledEnds(t *testing.T) {
	f := newFakeAdmin(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, oneLine)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	for _, args := range [][]string{{"export", "policy.ndjson"}, {"diff", "other.ndjson"}} {
		require.NoError(t, os.WriteFile(filepath.Join(f.dir, "other.ndjson"), []byte(`{"end":{"roles":0,"grants":0}}`), 0o600))
		cmd, stderr := f.command(append(args, "--timeout", "300ms")...)
		requireExit(t, cmd.Run(), cli.Error)
		require.Equal(t, "error: transfer stalled: nothing was sent or received for 300ms\nhint:  --timeout sets how long to wait\n", stderr.String())
		f.requireFiles("other.ndjson")
	}
}

func TestProgress_OnlyOnATerminal(t *testing.T) {
	var out bytes.Buffer
	silent := newProgress(&out, "apply", 10)
	_, _ = silent.Write([]byte("0123456789"))
	silent.end()
	require.Empty(t, out.String(), "a buffer is not a terminal")
}

func TestProgress_ShowsLinesAndBytes(t *testing.T) {
	var out bytes.Buffer
	p := &progress{line: &cli.StatusLine{Out: &out}, what: "apply", total: 4_000_000, then: "the server is at work"}
	block := append(bytes.Repeat([]byte("x"), 999_999), '\n')
	_, _ = p.Write(block)
	_, _ = p.Write(block)
	require.Equal(t, "\r\x1b[Kapply: 25 %, 1 lines, 1.0 MB of 4.0 MB", out.String(), "not for every write")
	p.next = time.Time{}
	_, _ = p.Write(block)
	_, _ = p.Write(block)
	p.end()
	_, _ = p.Write(block)
	require.Equal(t, fmt.Sprint("\r\x1b[Kapply: 25 %, 1 lines, 1.0 MB of 4.0 MB", "\r\x1b[Kapply: 75 %, 3 lines, 3.0 MB of 4.0 MB",
		"\r\x1b[Kapply: 4 lines, 4.0 MB; the server is at work", "\r\x1b[K"), out.String())

	out.Reset()
	unknown := &progress{line: &cli.StatusLine{Out: &out}, what: "export"}
	_, _ = unknown.Write(block)
	require.Equal(t, "\r\x1b[Kexport: 1 lines, 1.0 MB", out.String())
}

func TestFillFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	fill := func(text string, err error) error {
		return fillFile(path, func(w io.Writer) error {
			_, _ = io.WriteString(w, text)
			return err
		})
	}
	full := errors.New("full")
	require.ErrorIs(t, fill("half", full), full)
	require.NoFileExists(t, path)
	require.NoError(t, fill("one", nil))
	require.ErrorIs(t, fill("half", full), full)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "one", string(text))
	require.NoError(t, fill("two", nil))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file is left")
}
