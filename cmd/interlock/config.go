package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/actors/policy/strictyaml"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/forwarded"
)

// config is the configuration file of serve; flags go over it.
type config struct {
	Listen         string       `yaml:"listen"`
	AdminListen    string       `yaml:"admin-listen"`
	OperatorListen string       `yaml:"operator-listen"`
	BaseURL        string       `yaml:"base-url"`
	Data           *string      `yaml:"data"` // nil for the default
	Keep           keepConfig   `yaml:"keep"`
	Policy         string       `yaml:"policy"`
	BootstrapAdmin string       `yaml:"bootstrap-admin"`
	TLS            tlsConfig    `yaml:"tls"`
	Identity       []certs.Rule `yaml:"identity"`
	// Fingerprints are principals by the SHA-256 of single certificates.
	Fingerprints map[string]string `yaml:"fingerprints"`
	Connections  connectionsConfig `yaml:"connections"`
	Proxied      proxiedConfig     `yaml:"proxied"`
	MaxQueued    int               `yaml:"max-queued"`
	IdleAfter    time.Duration     `yaml:"idle-after"`
	Drain        time.Duration     `yaml:"drain"`
	Log          logConfig         `yaml:"log"`
}

// connectionsConfig are limits; 0 for the server's own.
type connectionsConfig struct {
	Max                    int           `yaml:"max"`
	PerPrincipal           int           `yaml:"per-principal"`
	UnauthenticatedTimeout time.Duration `yaml:"unauthenticated-timeout"`
	MaxAge                 time.Duration `yaml:"max-age"`
}

func (c connectionsConfig) limits() httpapi.ConnectionLimits {
	return httpapi.ConnectionLimits{Max: c.Max, PerPrincipal: c.PerPrincipal, UnauthenticatedTimeout: c.UnauthenticatedTimeout, MaxAge: c.MaxAge}
}

// proxiedConfig is the listener for proxies; there is none if nothing is set.
type proxiedConfig struct {
	Listen  string           `yaml:"listen"`
	Format  forwarded.Format `yaml:"format"`
	Header  string           `yaml:"header"`
	Proxies []string         `yaml:"proxies"`
}

// options are nil without such a listener.
func (c proxiedConfig) options() (*httpapi.Proxied, error) {
	if c.Listen == "" {
		if c.Format != "" || c.Header != "" || len(c.Proxies) > 0 {
			return nil, errors.New("proxied.listen is not set; say where proxies come in")
		}
		return nil, nil
	}
	reader, err := forwarded.NewReader(c.Format, c.Header)
	if err != nil {
		return nil, fmt.Errorf("proxied: %w", err)
	}
	p := &httpapi.Proxied{Reader: reader}
	for _, id := range c.Proxies {
		who, err := policy.ParsePrincipal(id)
		if err != nil {
			return nil, fmt.Errorf("proxied.proxies: %q: %w", id, err)
		}
		p.Proxies = append(p.Proxies, who)
	}
	if len(p.Proxies) == 0 {
		return nil, errors.New("proxied.proxies is empty; name the principals of the proxies that are to be believed")
	}
	return p, nil
}

// identifier returns the rules that identify callers, not yet bound to CAs.
func (c *config) identifier() (*certs.Identifier, error) {
	id, err := certs.NewIdentifier(c.Identity...)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	names := map[[sha256.Size]byte]string{}
	for fingerprint, name := range c.Fingerprints {
		cert, err := policy.ByFingerprint(fingerprint)
		if err != nil {
			return nil, fmt.Errorf("fingerprints: %q: %w", fingerprint, err)
		}
		who, err := policy.ParsePrincipal(name)
		if err != nil {
			return nil, fmt.Errorf("fingerprints: %q: %w", name, err)
		}
		var key [sha256.Size]byte
		if _, err := hex.Decode(key[:], []byte(cert.SHA256)); err != nil {
			return nil, err
		}
		if before, twice := names[key]; twice && before != who.String() {
			return nil, fmt.Errorf("fingerprints: %s stands for %s and for %s; give it one principal", cert.SHA256, before, who)
		}
		names[key] = who.String()
	}
	return id.Mapping(names), nil
}

type tlsConfig struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	MinVersion  string `yaml:"min-version"` // "" for the default
	ClientCA    string `yaml:"client-ca"`
	// ClientCAs are bound to names; the CAs of ClientCA are not.
	ClientCAs []certs.Binding `yaml:"client-cas"`
	// WorkloadAPI stands in place of Certificate, Key and ClientCA.
	WorkloadAPI workloadConfig `yaml:"workload-api"`
	CRLs        []string       `yaml:"crls"`
	StaleCRLs   string         `yaml:"stale-crls"`
}

// workloadConfig is a SPIFFE Workload API to ask; none if there is no address.
type workloadConfig struct {
	Address      string   `yaml:"address"`
	SPIFFEID     string   `yaml:"spiffe-id"`
	TrustDomains []string `yaml:"trust-domains"`
}

// bindings returns the files with CAs of clients.
func (c *tlsConfig) bindings() []certs.Binding {
	if c.ClientCA == "" {
		return c.ClientCAs
	}
	return append([]certs.Binding{{File: c.ClientCA}}, c.ClientCAs...)
}

// minVersions are the versions of TLS that can be the oldest, by their names in a
// configuration; without a name it is TLS 1.3.
var minVersions = map[string]uint16{"": 0, "1.3": tls.VersionTLS13, "1.2": tls.VersionTLS12}

// keepConfig says how much of the log of changes is kept.
type keepConfig struct {
	Age   time.Duration `yaml:"age"`
	Count int           `yaml:"count"`
}

type logConfig struct {
	Level  slog.Level `yaml:"level"`
	Format string     `yaml:"format"`
}

func defaultConfig() config {
	return config{
		Listen: "127.0.0.1:8443", AdminListen: "127.0.0.1:8444", OperatorListen: "127.0.0.1:8445",
		Keep:        keepConfig{Count: 1_000_000},
		Connections: connectionsConfig{Max: 16384, PerPrincipal: 1024, UnauthenticatedTimeout: 10 * time.Second, MaxAge: time.Hour},
		MaxQueued:   4096, IdleAfter: 5 * time.Minute, Drain: 10 * time.Second,
		Log: logConfig{Format: "text"},
	}
}

// exampleConfig is what serve --help shows: every key, with its default or an example.
const exampleConfig = `# interlock.yaml
listen: 127.0.0.1:8443            # callers: decisions (AuthZEN)
admin-listen: 127.0.0.1:8444      # administrators: the policy
operator-listen: 127.0.0.1:8445   # operators: /healthz, /readyz; plain, keep it on loopback
base-url: https://pdp.example:8443  # as callers reach it; default: made of listen
data: /var/lib/interlock          # the policy and its log; default ./interlock-data, "" for in memory
keep:                             # of the log of changes
  age: 0s                         # for how long; 0s for ever
  count: 1000000                  # how many at most; 0 for all
policy: /etc/interlock/policy.yaml  # roles and grants of a new store; not read for one that has a policy
# bootstrap-admin: spiffe://example.org/admin  # in place of policy: the first administrator
tls:
  certificate: /etc/interlock/server.crt
  key: /etc/interlock/server.key
  min-version: "1.3"        # or "1.2", for callers that cannot do better
  client-ca: /etc/interlock/ca.crt  # who may sign for callers and administrators, under any name
  client-cas:       # CAs for these names only; client-ca may be left out
    - file: /etc/interlock/partner-ca.crt
      trust-domains: [partner.example]  # of SPIFFE IDs
      names: [partner.example]          # of DNS names and mail addresses, and what ends in .partner.example
  crls: [/etc/interlock/ca.crl]  # of these CAs; reloaded when they change, and at SIGHUP
  stale-crls: refuse    # or accept: the certificates of a CA whose next CRL is overdue
  # workload-api:           # a SPIFFE Workload API, in place of certificate, key and client-ca
  #   address: unix:///run/spire/agent.sock
  #   spiffe-id: ""         # which SVID; the first
  #   trust-domains: []     # whose clients; all that it gives CAs of
identity: [dns, email]   # after the SPIFFE ID: dns, email, uri, sha256, spki, cn, in this order
fingerprints:            # principals of single certificates, by their SHA-256, before all else
  # 5f0c…9a: spiffe://example.org/legacy
connections:             # on each listener
  max: 16384             # one more is closed at once
  per-principal: 1024    # requests on one more are answered with 429
  unauthenticated-timeout: 10s # closes a connection without a client certificate
  max-age: 1h            # then the next answer closes the connection, plus or minus a tenth
# proxied:               # callers that come through proxies which end their TLS
#   listen: 127.0.0.1:8447
#   format: nginx        # rfc9440, envoy, nginx, haproxy, caddy, traefik
#   header: ""           # the format's own
#   proxies: [spiffe://example.org/ingress]  # who is believed
max-queued: 4096         # requests that may wait for one principal
idle-after: 5m           # an idle principal leaves memory
drain: 10s               # how long operations may end by themselves at shutdown
log:
  level: info            # debug, info, warn, error
  format: text           # text, json
`

// load reads the file over the defaults. It reports all errors, each with its place.
func (c *config) load(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	err = strictyaml.Decode(data, c)
	if err == nil || errors.Is(err, strictyaml.ErrEmpty) {
		return nil
	}
	text := path + ":" + strings.ReplaceAll(err.Error(), "\n", "\n"+path+":")
	return cli.Hint(errors.New(text), "interlock serve --help shows a whole example")
}

// check rejects a server without a certificate, with two, or without CAs of clients.
func (c *tlsConfig) check() error {
	needed := []struct{ name, value string }{
		{"tls.certificate", c.Certificate}, {"tls.key", c.Key}, {"tls.client-ca", c.firstCA()},
	}
	if c.WorkloadAPI.Address == "" {
		if c.WorkloadAPI.SPIFFEID != "" || len(c.WorkloadAPI.TrustDomains) > 0 {
			return errors.New("tls.workload-api.address is not set; say where the Workload API listens")
		}
		for _, n := range needed {
			if n.value == "" {
				return cli.Hint(fmt.Errorf("%s is not set", n.name), "interlock serve --dev makes certificates to try it with; interlock serve --help shows a whole configuration")
			}
		}
		return nil
	}
	needed[2].value = c.ClientCA // client-cas may be set too
	for _, n := range needed {
		if n.value != "" {
			return fmt.Errorf("%s and tls.workload-api.address are both set; leave one out", n.name)
		}
	}
	return nil
}

// check refuses what cannot work, before anything is opened.
func (c *config) check() error {
	if err := c.TLS.check(); err != nil {
		return err
	}
	_, known := minVersions[c.TLS.MinVersion]
	switch {
	case !known:
		return fmt.Errorf("tls.min-version is %q; it is \"1.3\" or \"1.2\"", c.TLS.MinVersion)
	case c.Policy != "" && c.BootstrapAdmin != "":
		return cli.Hint(errors.New("bootstrap-admin is for an empty policy, and policy names one"), "leave one of the two out")
	case c.Log.Format != "text" && c.Log.Format != "json":
		return fmt.Errorf("log.format is %q; it is text or json", c.Log.Format)
	case c.TLS.StaleCRLs != "" && c.TLS.StaleCRLs != refuseStale && c.TLS.StaleCRLs != acceptStale:
		return fmt.Errorf("tls.stale-crls is %q; it is refuse or accept", c.TLS.StaleCRLs)
	case c.Keep.Age < 0 || c.Keep.Count < 0:
		return errors.New("keep.age and keep.count have to be positive, or 0 for no limit")
	case c.Connections.Max < 0 || c.Connections.PerPrincipal < 0 || c.Connections.UnauthenticatedTimeout < 0 || c.Connections.MaxAge < 0:
		return errors.New("connections.max, per-principal, unauthenticated-timeout and max-age have to be positive, or 0 for the default")
	case c.MaxQueued < 1 || c.IdleAfter <= 0 || c.Drain < 0:
		return errors.New("max-queued and idle-after have to be positive, drain not negative")
	}
	return nil
}

func (c *config) logger(w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Log.Level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// startPolicy returns the roles and grants that a new store begins with.
func (c *config) startPolicy() (*policyfile.File, error) {
	switch {
	case c.Policy != "":
		return readPolicy(c.Policy)
	case c.BootstrapAdmin != "":
		return bootstrapPolicy(c.BootstrapAdmin)
	}
	return nil, cli.Hint(errors.New("neither policy nor bootstrap-admin is set, so nobody could ever change anything"),
		"name the first administrator: --bootstrap-admin spiffe://trust-domain/name")
}

func readPolicy(path string) (*policyfile.File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return policyfile.Parse(path, data)
}

// bootstrapPolicy gives one principal full rights, and nothing to anybody else.
func bootstrapPolicy(id string) (*policyfile.File, error) {
	who, err := policy.ParsePrincipal(id)
	if err != nil {
		return nil, fmt.Errorf("bootstrap-admin: %w", err)
	}
	role, err := policy.RoleSpec{Permissions: []policy.PermissionSpec{{
		Actions: []string{"interlock:**"}, Resources: []string{"**"},
	}}}.Role("admin")
	if err != nil {
		return nil, err
	}
	return &policyfile.File{
		Roles:  map[string]*policy.Role{"admin": role},
		Grants: []policy.Grant{{Principal: who, Role: "admin", Reason: "bootstrap"}},
	}, nil
}

// firstCA is the first file with a CA of clients, empty if there is none.
func (c *tlsConfig) firstCA() string {
	if all := c.bindings(); len(all) > 0 {
		return all[0].File
	}
	return ""
}
