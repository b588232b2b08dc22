package admin

import (
	"cmp"
	"errors"
	"io/fs"
	"net/http"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/contexts"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// The names of the flags that select a listener, and the default URLs.
const (
	adminFlag     = "admin"
	serverFlag    = "server"
	defaultAdmin  = "https://localhost:8444"
	defaultServer = "https://localhost:8443"
)

// connection has the flags that say how a command reaches the server, and with which certificate.
type connection struct {
	listener      string // adminFlag or serverFlag
	url           string
	ca, cert, key string
	name          string
	timeout       time.Duration
	flags         *pflag.FlagSet
	// leaseTTL is that of remote leases; 0 for the default.
	leaseTTL time.Duration
}

// callerFlags adds the flags of a connection to the listener for callers.
func (c *connection) callerFlags(cmd *cobra.Command) {
	c.listener = serverFlag
	cmd.Flags().StringVar(&c.url, serverFlag, defaultServer, "`URL` of the listener for callers")
	c.identityFlags(cmd)
}

// adminFlags adds the flags of a connection to the listener for administrators.
func (c *connection) adminFlags(cmd *cobra.Command) {
	c.listener = adminFlag
	cmd.Flags().StringVar(&c.url, adminFlag, defaultAdmin, "`URL` of the listener for administrators")
	c.identityFlags(cmd)
}

func (c *connection) identityFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.name, "as", "admin", "`name` of a certificate in ./"+cli.DevFolder)
	f.StringVar(&c.ca, "ca", "", "CA `file` of the server (default ./"+cli.DevFolder+"/ca.crt)")
	f.StringVar(&c.cert, "cert", "", "client certificate `file`, instead of --as")
	f.StringVar(&c.key, "key", "", "client key `file`, instead of --as")
	f.DurationVar(&c.timeout, "timeout", 75*time.Second, "how long to wait for the server")
	c.flags = f
}

// toAdmin returns the connection to the listener for administrators with the same certificate.
func (c *connection) toAdmin() *connection {
	if c.listener == adminFlag {
		return c
	}
	other := *c
	other.listener, other.url = adminFlag, defaultAdmin
	if f := c.flags.Lookup(adminFlag); f != nil {
		other.url = f.Value.String()
	}
	return &other
}

// resolve returns the settings of the connection. A flag overrides an environment variable, which overrides the current
// context, which overrides the files of [cli.DevFolder]. A certificate and its key come from the same source.
func (c *connection) resolve() (contexts.Context, error) {
	current, err := contexts.Current()
	if err != nil {
		return contexts.Context{}, err
	}
	env := contexts.FromEnvironment()
	flag := ""
	if c.flags.Changed(c.listener) {
		flag = c.url
	}
	r := contexts.Context{
		Admin: cmp.Or(flag, env.Admin, current.Admin, c.url), Server: cmp.Or(flag, env.Server, current.Server, c.url),
		CA: cmp.Or(c.ca, env.CA, current.CA, filepath.Join(cli.DevFolder, devca.CertFile)),
	}
	r.Cert, r.Key = filepath.Join(cli.DevFolder, c.name+".crt"), filepath.Join(cli.DevFolder, c.name+".key")
	for _, from := range []contexts.Context{{Cert: c.cert, Key: c.key}, env, current} {
		if from.Cert != "" || from.Key != "" {
			r.Cert, r.Key = from.Cert, from.Key
			break
		}
		if c.flags.Changed("as") {
			break // the flag overrides the environment and the context
		}
	}
	return r, nil
}

// client makes a client for the listener.
func (c *connection) client() (*client.Client, error) {
	r, err := c.resolve()
	if err != nil {
		return nil, err
	}
	base := r.Admin
	if c.listener == serverFlag {
		base = r.Server
	}
	if err := contexts.CheckURL("--"+c.listener, base); err != nil {
		return nil, err
	}
	config, err := certs.ClientConfig(certs.ClientOptions{CAFile: r.CA, CertFile: r.Cert, KeyFile: r.Key})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cli.Hint(err, "name files with --ca, --cert and --key, or in a context with interlock config set-context")
	}
	if err != nil {
		return nil, err
	}
	return client.New(client.Options{BaseURL: base, TLS: config, Timeout: c.timeout, LeaseTTL: c.leaseTTL})
}

// hintFailure adds a hint to the error of a failed call. It returns nil for nil.
func hintFailure(err error) error {
	if p, ok := errors.AsType[*client.Problem](err); ok {
		return hintProblem(p)
	}
	return cli.HintConnection(err)
}

func hintProblem(p *client.Problem) error {
	switch p.Status {
	case http.StatusUnauthorized:
		return cli.Hint(p, "interlock ca issue client makes a certificate that names a principal")
	case http.StatusForbidden:
		return cli.Hint(p, "the certificate's principal lacks the right; docs/admin-api.md lists the right that each request needs")
	case http.StatusPreconditionFailed:
		return cli.Hint(p, "interlock policy diff shows how the server's policy differs now")
	}
	return p
}
