// Package config is the configuration of interlock serve: its file, its flags, its defaults and its checks.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/interlock-authz/interlock/actors/canary"
	"github.com/interlock-authz/interlock/actors/observe"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/strictyaml"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/admin"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/leases"
)

// DefaultData is the folder of the store, unless the configuration names another one.
const DefaultData = "interlock-data"

// Config is the configuration of a server. [Default] returns one; [Config.Check] validates it. [Example] explains the keys.
type Config struct {
	Listen         string       `yaml:"listen"`
	AdminListen    string       `yaml:"admin-listen"`
	OperatorListen string       `yaml:"operator-listen"`
	OperatorHosts  []string     `yaml:"operator-hosts"`
	BaseURL        string       `yaml:"base-url"`
	Data           *string      `yaml:"data"` // nil for the default, "" for a store in memory
	Keep           Keep         `yaml:"keep"`
	Policy         string       `yaml:"policy"`
	BootstrapAdmin string       `yaml:"bootstrap-admin"`
	TLS            TLS          `yaml:"tls"`
	Identity       []certs.Rule `yaml:"identity"`
	// Fingerprints maps the SHA-256 of single certificates to principals.
	Fingerprints map[string]string `yaml:"fingerprints"`
	Connections  Connections       `yaml:"connections"`
	Proxied      Proxied           `yaml:"proxied"`
	Gateway      Gateway           `yaml:"gateway"`
	Leases       Leases            `yaml:"leases"`
	Canary       Canary            `yaml:"canary"`
	MaxQueued    int               `yaml:"max-queued"`
	UpdateRate   int               `yaml:"update-rate"`
	IdleAfter    time.Duration     `yaml:"idle-after"`
	Drain        time.Duration     `yaml:"drain"`
	Log          Log               `yaml:"log"`

	path string // of the file that was loaded, empty for none
}

// Keep limits the log of changes. 0 is no limit.
type Keep struct {
	Age   time.Duration `yaml:"age"`
	Count int           `yaml:"count"`
	// MinAge is the age below which Count removes nothing.
	MinAge time.Duration `yaml:"min-age"`
}

// Connections limits the connections of each listener. 0 is the default of [httpapi.ConnectionLimits].
type Connections struct {
	Max                    int           `yaml:"max"`
	PerPrincipal           int           `yaml:"per-principal"`
	UnauthenticatedTimeout time.Duration `yaml:"unauthenticated-timeout"`
	MaxAge                 time.Duration `yaml:"max-age"`
}

// Limits returns the limits for a server.
func (c Connections) Limits() httpapi.ConnectionLimits {
	return httpapi.ConnectionLimits{Max: c.Max, PerPrincipal: c.PerPrincipal, UnauthenticatedTimeout: c.UnauthenticatedTimeout, MaxAge: c.MaxAge}
}

// Leases limits remote leases. 0 is the default of [leases.Options].
type Leases struct {
	MaxTTL    time.Duration `yaml:"max-ttl"`
	PerHolder int           `yaml:"per-holder"`
	Max       int           `yaml:"max"`
}

func (l Leases) check() error {
	switch {
	case l.MaxTTL != 0 && (l.MaxTTL < client.MinLeaseTTL || l.MaxTTL > client.MaxLeaseTTL):
		return fmt.Errorf("leases.max-ttl is %s; it must be between %s and %s", l.MaxTTL, client.MinLeaseTTL, client.MaxLeaseTTL)
	case l.PerHolder < 0 || l.Max < 0:
		return errors.New("leases.per-holder and max must be positive, or 0 for the default")
	}
	return nil
}

// Log is the level of the server's log, its format, text or json, and which decisions are logged.
type Log struct {
	Level              slog.Level `yaml:"level"`
	Format             string     `yaml:"format"`
	Decisions          Decisions  `yaml:"decisions"`
	DecisionsPerSecond Rate       `yaml:"decisions-per-second"`
}

// Logger returns a logger that writes to w.
func (l Log) Logger(w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: l.Level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// Default returns the configuration of a server without a configuration file or flags.
func Default() Config {
	return Config{
		Listen: "127.0.0.1:8443", AdminListen: "127.0.0.1:8444", OperatorListen: "127.0.0.1:8445",
		Gateway:     Gateway{Listen: "127.0.0.1:8446"},
		Keep:        Keep{Count: 1_000_000, MinAge: 7 * 24 * time.Hour},
		Leases:      Leases{MaxTTL: client.MaxLeaseTTL, PerHolder: leases.DefaultPerHolder, Max: leases.DefaultMax},
		Canary:      Canary{SLO: canary.DefaultSLO},
		Connections: Connections{Max: 16384, PerPrincipal: 1024, UnauthenticatedTimeout: 10 * time.Second, MaxAge: time.Hour},
		MaxQueued:   4096, UpdateRate: admin.DefaultUpdateRate, IdleAfter: 5 * time.Minute, Drain: 10 * time.Second,
		Log: Log{Format: "text", Decisions: LogNone, DecisionsPerSecond: observe.DefaultPerSecond},
	}
}

// Load reads the file into c; a key that the file lacks keeps its value. The error lists all faults of the file, each with
// its position.
func (c *Config) Load(path string) error {
	c.path = path
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	err = strictyaml.Decode(data, c)
	if err == nil || errors.Is(err, strictyaml.ErrEmpty) {
		return nil
	}
	text := path + ":" + strings.ReplaceAll(err.Error(), "\n", "\n"+path+":")
	return cli.Hint(errors.New(text), "interlock serve --help shows a complete example")
}

// Again loads the same file into a new configuration. It returns nil if no file was loaded.
func (c *Config) Again() (*Config, error) {
	if c.path == "" {
		return nil, nil
	}
	again := Default()
	if err := again.Load(c.path); err != nil {
		return nil, err
	}
	return &again, nil
}

// Check returns an error for a configuration that cannot work. It opens no files.
func (c *Config) Check() error {
	if err := errors.Join(c.TLS.check(), c.Leases.check(), c.Canary.check()); err != nil {
		return err
	}
	switch {
	case c.Policy != "" && c.BootstrapAdmin != "":
		return cli.Hint(errors.New("policy and bootstrap-admin are both set"), "remove one of them")
	case c.Log.Format != "text" && c.Log.Format != "json":
		return fmt.Errorf("log.format is %q; it must be text or json", c.Log.Format)
	case c.Keep.Age < 0 || c.Keep.Count < 0 || c.Keep.MinAge < 0:
		return errors.New("keep.age, keep.count and keep.min-age must be positive, or 0 for no limit")
	case c.Connections.Max < 0 || c.Connections.PerPrincipal < 0 || c.Connections.UnauthenticatedTimeout < 0 || c.Connections.MaxAge < 0:
		return errors.New("connections.max, per-principal, unauthenticated-timeout and max-age must be positive, or 0 for the default")
	case c.UpdateRate == 0:
		return errors.New("update-rate must not be 0; -1 is for no limit")
	case c.MaxQueued < 1 || c.IdleAfter <= 0 || c.Drain < 0:
		return errors.New("max-queued and idle-after must be positive, and drain must not be negative")
	}
	return nil
}

// SetData sets the folder of the store unless the file or a flag has set it. The default of dev is in [cli.DevFolder].
func (c *Config) SetData(dev bool) {
	if c.Data != nil {
		return
	}
	folder := DefaultData
	if dev {
		folder = filepath.Join(cli.DevFolder, "data")
	}
	c.Data = &folder
}

// Identifier returns the rules that identify callers, not yet bound to trust anchors.
func (c *Config) Identifier() (*certs.Identifier, error) {
	id, err := certs.NewIdentifier(c.Identity...)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	names, err := c.principalsByFingerprint()
	if err != nil {
		return nil, fmt.Errorf("fingerprints: %w", err)
	}
	return id.Mapping(names), nil
}

// principalsByFingerprint parses the fingerprints, which may be spelled with or without colons.
func (c *Config) principalsByFingerprint() (map[[sha256.Size]byte]string, error) {
	names := map[[sha256.Size]byte]string{}
	for fingerprint, name := range c.Fingerprints {
		cert, err := policy.ByFingerprint(fingerprint)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", fingerprint, err)
		}
		who, err := policy.ParsePrincipal(name)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		var key [sha256.Size]byte
		if _, err := hex.Decode(key[:], []byte(cert.SHA256)); err != nil {
			return nil, err
		}
		if other, found := names[key]; found && other != who.String() {
			return nil, fmt.Errorf("%s has two principals, %s and %s; remove one", cert.SHA256, other, who)
		}
		names[key] = who.String()
	}
	return names, nil
}
