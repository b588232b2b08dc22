package serve

import (
	"bytes"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/atomicfile"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// devClients are the names of the clients that --dev issues certificates to.
var devClients = []string{"admin", "alice", "bob", devGateway}

// devGateway is the client that is the gateway.
const devGateway = "gateway"

//go:embed sample.yaml
var samplePolicy []byte

// raceTarget is the template of [cli.TargetFile].
//
//go:embed race-target.yaml
var raceTarget string

// target is what the template of a target file needs.
type target struct {
	Name, Orders, Administrators string
	Gateway                      bool
}

// writeTargets writes the target files with the current URLs of the server: one for the orders behind
// a guard, and one for those behind the gateway, if the gateway is that of --dev.
func writeTargets(dir string, l *listeners, behindGateway bool) error {
	t, err := template.New(cli.TargetFile).Delims("[[", "]]").Parse(raceTarget)
	if err != nil {
		return err
	}
	targets := map[string]target{cli.TargetFile: {"interlock serve --dev", l.url(callers), l.url(administrators), false}}
	if behindGateway {
		targets[cli.GatewayTargetFile] = target{"the gateway of interlock serve --dev", l.url(gateways), l.url(administrators), true}
	}
	for file, about := range targets {
		var text bytes.Buffer
		if err := t.Execute(&text, about); err != nil {
			return err
		}
		if err := atomicfile.Replace(atomicfile.File{Path: filepath.Join(dir, file), Data: text.Bytes(), Mode: 0o600}); err != nil {
			return err
		}
	}
	return nil
}

// setUpDev makes the missing files in the folder and configures the server to use them. It replaces certificates that expire
// within a day or that another CA has issued.
func setUpDev(dir string, c *config.Config, out io.Writer) error {
	authority, err := devAuthority(dir, out)
	if err != nil {
		return err
	}
	if err := devCertificates(dir, authority, out); err != nil {
		return err
	}
	path := filepath.Join(dir, "policy.yaml")
	if c.Policy == "" && c.BootstrapAdmin == "" {
		if err := writeSample(path, out); err != nil {
			return err
		}
		c.Policy = path
	}
	if c.TLS.IsZero() {
		c.TLS.Certificate, c.TLS.Key = filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
		c.TLS.ClientCA = filepath.Join(dir, devca.CertFile)
	}
	return nil
}

// devAuthority loads the development CA, or makes it.
func devAuthority(dir string, out io.Writer) (*devca.CA, error) {
	if _, err := os.Stat(filepath.Join(dir, devca.CertFile)); err == nil {
		return devca.Load(dir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	authority, err := devca.Init(dir, devca.Options{})
	if err == nil {
		fmt.Fprintln(out, "made a development CA in", dir)
	}
	return authority, err
}

// devCertificates issues the certificates of the server and of the clients that are missing or not usable.
func devCertificates(dir string, authority *devca.CA, out io.Writer) error {
	issue := func(name string, make func() (devca.KeyPair, error)) error {
		if usable(dir, name, authority) {
			return nil
		}
		pair, err := make()
		if errors.Is(err, devca.ErrLifetime) {
			return cli.Hint(err, "the development CA expires soon; remove %s, and the next start makes a new one", dir)
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "issued", filepath.Join(dir, name+".crt"))
		return pair.Write(dir, name, true)
	}
	if err := issue("server", func() (devca.KeyPair, error) { return authority.IssueServer(devca.ServerOptions{}) }); err != nil {
		return err
	}
	for _, name := range devClients {
		if err := issue(name, func() (devca.KeyPair, error) {
			return authority.IssueClient(devca.ClientOptions{SPIFFEID: cli.DevTrustDomain + name})
		}); err != nil {
			return err
		}
	}
	return nil
}

// usable reports whether the CA has issued the certificate and it is valid for another day.
func usable(dir, name string, authority *devca.CA) bool {
	pair, err := certs.LoadKeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	if err != nil {
		return false
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{
		Roots: authority.Pool(), CurrentTime: time.Now().Add(24 * time.Hour),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err == nil
}

// writeSample writes the sample policy unless the file exists.
func writeSample(path string, out io.Writer) error {
	err := atomicfile.Create(atomicfile.File{Path: path, Data: samplePolicy, Mode: 0o600})
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		fmt.Fprintln(out, "wrote the sample policy", path)
	}
	return err
}
