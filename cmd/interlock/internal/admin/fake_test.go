package admin

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/clitest"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// TestMain makes this test binary the command interlock, for tests that signal it.
func TestMain(m *testing.M) {
	testscript.Main(clitest.Isolated(m), map[string]func(){"interlock": func() {
		os.Exit(cli.Run(rootCommand(), os.Args[1:], os.Stdout, os.Stderr))
	}})
}

// rootCommand returns interlock with the commands of this package only.
func rootCommand() *cobra.Command {
	return cli.Group(&cobra.Command{Use: "interlock"}, Commands()...)
}

// fakeAdmin is a server with the faults that a test needs, and a client certificate for it.
type fakeAdmin struct {
	t     *testing.T
	dir   string
	flags []string
}

func newFakeAdmin(t *testing.T, serve http.HandlerFunc) *fakeAdmin {
	t.Helper()
	dir := t.TempDir()
	authority, err := devca.Init(dir, devca.Options{})
	require.NoError(t, err)
	server, err := authority.IssueServer(devca.ServerOptions{})
	require.NoError(t, err)
	require.NoError(t, server.Write(dir, "server", true))
	client, err := authority.IssueClient(devca.ClientOptions{SPIFFEID: "spiffe://interlock.test/admin"})
	require.NoError(t, err)
	require.NoError(t, client.Write(dir, "admin", true))
	in := func(name string) string { return filepath.Join(dir, name) }
	config, err := certs.ServerConfig(certs.ServerOptions{CertFile: in("server.crt"), KeyFile: in("server.key"), ClientCAs: authority.Pool()})
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(serve)
	s.TLS = config
	s.StartTLS()
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	require.NoError(t, err)
	return &fakeAdmin{t: t, dir: t.TempDir(), flags: []string{
		"--admin", "https://localhost:" + port, "--ca", in(devca.CertFile), "--cert", in("admin.crt"), "--key", in("admin.key"),
	}}
}

// command returns interlock policy with the arguments, in the folder of the test.
func (f *fakeAdmin) command(args ...string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	cmd = exec.CommandContext(f.t.Context(), "interlock", append(append([]string{"policy"}, args...), f.flags...)...)
	name, value := clitest.QuickRace()
	cmd.Dir, cmd.Env = f.dir, append(os.Environ(), name+"="+value)
	stderr = &bytes.Buffer{}
	cmd.Stderr = stderr
	return cmd, stderr
}

func (f *fakeAdmin) requireFiles(want ...string) {
	f.t.Helper()
	files, err := os.ReadDir(f.dir)
	require.NoError(f.t, err)
	got := []string{}
	for _, file := range files {
		got = append(got, file.Name())
	}
	require.ElementsMatch(f.t, want, got)
}

func requireExit(t *testing.T, err error, status int) {
	t.Helper()
	var failed *exec.ExitError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, status, failed.ExitCode())
}
