package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/httpapi"
)

// connection is how a command reaches the server, and as whom.
type connection struct {
	server, admin string
	ca, cert, key string
	name          string
	timeout       time.Duration
}

// flags adds the flags of a connection to a command.
func (c *connection) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.server, "server", "https://localhost:8443", "`URL` of the listener for callers")
	f.StringVar(&c.admin, "admin", "https://localhost:8444", "`URL` of the listener for administrators")
	f.StringVar(&c.name, "as", "admin", "`name` of a certificate in ./"+devFolder)
	f.StringVar(&c.ca, "ca", "", "authority `file` of the server (default ./"+devFolder+"/ca.crt)")
	f.StringVar(&c.cert, "cert", "", "own certificate `file`, in place of --as")
	f.StringVar(&c.key, "key", "", "own key `file`, in place of --as")
	f.DurationVar(&c.timeout, "timeout", 75*time.Second, "how long to wait for an answer")
}

// callers returns a client of the listener for callers.
func (c *connection) callers() (*httpapi.Client, error) { return c.client(c.server) }

// administrators returns a client of the listener for administrators.
func (c *connection) administrators() (*httpapi.Client, error) { return c.client(c.admin) }

func (c *connection) client(base string) (*httpapi.Client, error) {
	ca, cert, key := c.ca, c.cert, c.key
	if ca == "" {
		ca = filepath.Join(devFolder, certs.AuthorityCertFile)
	}
	if cert == "" && key == "" {
		cert, key = filepath.Join(devFolder, c.name+".crt"), filepath.Join(devFolder, c.name+".key")
	}
	config, err := certs.ClientConfig(certs.ClientOptions{CAFile: ca, CertFile: cert, KeyFile: key})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, os.ErrNotExist) {
		return nil, hint(err, "name files with --ca, --cert and --key, or run this beside the ./%s of interlock serve --dev", devFolder)
	}
	if err != nil {
		return nil, err
	}
	return &httpapi.Client{Base: base, HTTP: &http.Client{
		Timeout:   c.timeout,
		Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true},
	}}, nil
}

// explainFailure adds a hint to what a server answered.
func explainFailure(err error) error {
	var p *httpapi.Problem
	if !errors.As(err, &p) {
		return err
	}
	err = fmt.Errorf("%s", p.Error())
	if list, ok := p.Members["errors"].([]any); ok {
		for _, item := range list {
			if m, ok := item.(map[string]any); ok {
				err = fmt.Errorf("%w\n  %v: %v", err, m["field"], m["detail"])
			}
		}
	}
	switch p.Status {
	case http.StatusUnauthorized:
		return hint(err, "interlock ca issue client makes a certificate that names a principal")
	case http.StatusForbidden:
		return hint(err, "the certificate's principal lacks the right; see docs/admin-api.md for what each call takes")
	}
	return err
}
