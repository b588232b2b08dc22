package main

import (
	"errors"
	"io/fs"
	"net/http"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// connection is how a command reaches the server, and as whom.
type connection struct {
	url           string
	ca, cert, key string
	name          string
	timeout       time.Duration
}

// callerFlags adds the flags of a connection to the listener for callers.
func (c *connection) callerFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.url, "server", "https://localhost:8443", "`URL` of the listener for callers")
	c.identityFlags(cmd)
}

// adminFlags adds the flags of a connection to the listener for administrators.
func (c *connection) adminFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.url, "admin", "https://localhost:8444", "`URL` of the listener for administrators")
	c.identityFlags(cmd)
}

func (c *connection) identityFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.name, "as", "admin", "`name` of a certificate in ./"+cli.DevFolder)
	f.StringVar(&c.ca, "ca", "", "authority `file` of the server (default ./"+cli.DevFolder+"/ca.crt)")
	f.StringVar(&c.cert, "cert", "", "own certificate `file`, in place of --as")
	f.StringVar(&c.key, "key", "", "own key `file`, in place of --as")
	f.DurationVar(&c.timeout, "timeout", 75*time.Second, "how long to wait for an answer")
}

// client makes a client by the flags.
func (c *connection) client() (*client.Client, error) {
	ca, cert, key := c.ca, c.cert, c.key
	if ca == "" {
		ca = filepath.Join(cli.DevFolder, devca.CertFile)
	}
	if cert == "" && key == "" {
		cert, key = filepath.Join(cli.DevFolder, c.name+".crt"), filepath.Join(cli.DevFolder, c.name+".key")
	}
	config, err := certs.ClientConfig(certs.ClientOptions{CAFile: ca, CertFile: cert, KeyFile: key})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cli.Hint(err, "name files with --ca, --cert and --key, or run this beside the ./%s of interlock serve --dev", cli.DevFolder)
	}
	if err != nil {
		return nil, err
	}
	return client.New(client.Options{BaseURL: c.url, TLS: config, Timeout: c.timeout})
}

// hintFailure adds a hint to why a call failed; it leaves nil alone.
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
		return cli.Hint(p, "the certificate's principal lacks the right; docs/admin-api.md says what each call takes")
	case http.StatusPreconditionFailed:
		return cli.Hint(p, "interlock policy diff shows what the server has by now")
	}
	return p
}
