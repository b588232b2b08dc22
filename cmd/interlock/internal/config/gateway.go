package config

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/httpapi/gateway"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

// Gateway configures the gateway. Without routes there is none.
type Gateway struct {
	Listen    string              `yaml:"listen"`
	Upstreams map[string]Upstream `yaml:"upstreams"`
	Routes    []Route             `yaml:"routes"`
}

// Upstream is a [gateway.Upstream]. With CA, the connections to it use TLS.
type Upstream struct {
	Addresses       []string      `yaml:"addresses"`
	CA              string        `yaml:"ca"`
	Certificate     string        `yaml:"certificate"`
	Key             string        `yaml:"key"`
	ServerName      string        `yaml:"server-name"`
	Protocol        string        `yaml:"protocol"`
	Identity        string        `yaml:"identity"`
	ConnectTimeout  time.Duration `yaml:"connect-timeout"`
	ResponseTimeout time.Duration `yaml:"response-timeout"`
	IdleTimeout     time.Duration `yaml:"idle-timeout"`
	MaxConnections  int           `yaml:"max-connections"`
	Linger          time.Duration `yaml:"linger"`
	Health          *Health       `yaml:"health"`
}

// Health is a [gateway.Health].
type Health struct {
	Path     string        `yaml:"path"`
	Interval time.Duration `yaml:"interval"`
	Timeout  time.Duration `yaml:"timeout"`
}

// Route is a [gateway.Route].
type Route struct {
	routes.Route `yaml:",inline"`
	Upstream     string   `yaml:"upstream"`
	InFlight     InFlight `yaml:"in-flight"`
}

// InFlight is what happens to a call in progress that loses its authority. Its text is "cancel", or
// how long the call may continue: "grace 5s" or "finish 60s", which mean the same. The empty text
// leaves it to the update.
type InFlight struct{ Grace *time.Duration }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (f *InFlight) UnmarshalText(text []byte) error {
	word, duration, _ := strings.Cut(string(text), " ")
	switch {
	case len(text) == 0:
		f.Grace = nil
		return nil
	case string(text) == "cancel":
		f.Grace = new(time.Duration)
		return nil
	case word != "grace" && word != "finish":
		return errors.New("must be cancel, grace 5s or finish 60s")
	}
	d, err := time.ParseDuration(duration)
	if err != nil {
		return fmt.Errorf("%s needs a duration such as 5s", word)
	}
	f.Grace = &d
	return nil
}

// GatewayReader makes the configuration of a gateway, and makes it again after a reload. It returns
// the same TLS configuration for an upstream while its files have the same content, so that the
// gateway keeps the connections.
type GatewayReader struct {
	known map[[sha256.Size]byte]*tls.Config
}

// Read reads the files of the upstreams.
func (g *GatewayReader) Read(c *Gateway) (gateway.Config, error) {
	read := gateway.Config{Upstreams: map[string]gateway.Upstream{}}
	known := map[[sha256.Size]byte]*tls.Config{}
	for _, name := range slices.Sorted(maps.Keys(c.Upstreams)) {
		u := c.Upstreams[name]
		secure, err := g.tls(&u, known)
		if err != nil {
			return gateway.Config{}, fmt.Errorf("gateway.upstreams.%s: %w", name, err)
		}
		read.Upstreams[name] = u.options(secure)
	}
	for _, r := range c.Routes {
		read.Routes = append(read.Routes, gateway.Route{Route: r.Route, Upstream: r.Upstream, Grace: r.InFlight.Grace})
	}
	g.known = known
	return read, nil
}

// tls returns the TLS configuration of an upstream, nil for plain HTTP.
func (g *GatewayReader) tls(u *Upstream, known map[[sha256.Size]byte]*tls.Config) (*tls.Config, error) {
	if u.CA == "" {
		if u.Certificate != "" || u.Key != "" || u.ServerName != "" {
			return nil, errors.New("ca is not set; set it to the file with the CA of the upstream")
		}
		return nil, nil
	}
	pem, err := os.ReadFile(u.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", u.CA)
	}
	config := &tls.Config{RootCAs: pool, ServerName: u.ServerName, MinVersion: tls.VersionTLS13}
	h := sha256.New()
	fmt.Fprintf(h, "%q %q", pem, u.ServerName)
	if u.Certificate != "" || u.Key != "" {
		pair, err := certs.LoadKeyPair(u.Certificate, u.Key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
		fmt.Fprintf(h, " %q", pair.Certificate)
	}
	sum := [sha256.Size]byte(h.Sum(nil))
	if same := g.known[sum]; same != nil {
		config = same
	}
	known[sum] = config
	return config, nil
}

func (u *Upstream) options(secure *tls.Config) gateway.Upstream {
	o := gateway.Upstream{
		Addresses: u.Addresses, TLS: secure, Protocol: gateway.Protocol(u.Protocol), Identity: gateway.Identity(u.Identity),
		ConnectTimeout: u.ConnectTimeout, ResponseTimeout: u.ResponseTimeout, IdleTimeout: u.IdleTimeout,
		MaxConnections: u.MaxConnections, Linger: u.Linger,
	}
	if u.Health != nil {
		o.Health = &gateway.Health{Path: u.Health.Path, Interval: u.Health.Interval, Timeout: u.Health.Timeout}
	}
	return o
}
