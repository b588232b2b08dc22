package demo

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/interlock-authz/interlock/certs"
)

// certificates makes what is missing in the folder, and configures the server with it.
func certificates(dir string) (*tls.Config, error) {
	if _, err := os.Stat(filepath.Join(dir, certs.AuthorityCertFile)); errors.Is(err, fs.ErrNotExist) {
		if err := makeCertificates(dir); err != nil {
			return nil, err
		}
	}
	pool, err := certs.LoadPool(filepath.Join(dir, certs.AuthorityCertFile))
	if err != nil {
		return nil, err
	}
	return certs.ServerConfig(certs.ServerOptions{
		CertFile: filepath.Join(dir, "server.crt"), KeyFile: filepath.Join(dir, "server.key"), ClientCAs: pool,
	})
}

func makeCertificates(dir string) error {
	authority, err := certs.InitAuthority(dir, certs.AuthorityOptions{Name: "interlock race demo"})
	if err != nil {
		return err
	}
	server, err := authority.IssueServer(certs.ServerLeaf{})
	if err == nil {
		err = server.Write(dir, "server", true)
	}
	for _, name := range []string{"caller", "admin", "auditor"} {
		var pair certs.KeyPair
		if err == nil {
			pair, err = authority.IssueClient(certs.ClientLeaf{SPIFFEID: trustDomain + name})
		}
		if err == nil {
			err = pair.Write(dir, name, true)
		}
	}
	return err
}
