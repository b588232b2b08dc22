package demo

import (
	"crypto/tls"
	"path/filepath"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
)

// certificates makes a CA and certificates in the folder, replaces existing ones, and
// configures the server with them.
func certificates(dir string) (*tls.Config, error) {
	if err := makeCertificates(dir); err != nil {
		return nil, err
	}
	pool, err := certs.LoadPool(filepath.Join(dir, devca.CertFile))
	if err != nil {
		return nil, err
	}
	return certs.ServerConfig(certs.ServerOptions{
		CertFile: filepath.Join(dir, "server.crt"), KeyFile: filepath.Join(dir, "server.key"), ClientCAs: pool,
	})
}

func makeCertificates(dir string) error {
	authority, err := devca.Init(dir, devca.Options{Name: "interlock-lab race demo", Force: true})
	if err != nil {
		return err
	}
	server, err := authority.IssueServer(devca.ServerOptions{})
	if err == nil {
		err = server.Write(dir, "server", true)
	}
	for _, name := range []string{"caller", "admin", "auditor"} {
		var pair devca.KeyPair
		if err == nil {
			pair, err = authority.IssueClient(devca.ClientOptions{SPIFFEID: trustDomain + name})
		}
		if err == nil {
			err = pair.Write(dir, name, true)
		}
	}
	return err
}
