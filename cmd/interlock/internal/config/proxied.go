package config

import (
	"errors"
	"fmt"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/forwarded"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

// Proxied configures the listener for proxies. If nothing is set there is none.
type Proxied struct {
	Listen  string           `yaml:"listen"`
	Format  forwarded.Format `yaml:"format"`
	Header  string           `yaml:"header"`
	Proxies []string         `yaml:"proxies"`
	// Routes are those of forward authentication and ext_authz.
	Routes []routes.Route `yaml:"routes"`
}

// Options returns the options of the listener, nil if there is none.
func (c Proxied) Options() (*httpapi.Proxied, error) {
	if c.Listen == "" {
		if c.Format != "" || c.Header != "" || len(c.Proxies) > 0 || len(c.Routes) > 0 {
			return nil, errors.New("proxied.listen is not set; set it to the address for proxies")
		}
		return nil, nil
	}
	reader, err := forwarded.NewReader(c.Format, c.Header)
	if err != nil {
		return nil, fmt.Errorf("proxied: %w", err)
	}
	p := &httpapi.Proxied{Reader: reader}
	for _, id := range c.Proxies {
		proxy, err := policy.ParsePrincipal(id)
		if err != nil {
			return nil, fmt.Errorf("proxied.proxies: %q: %w", id, err)
		}
		p.Proxies = append(p.Proxies, proxy)
	}
	if len(p.Proxies) == 0 {
		return nil, errors.New("proxied.proxies is empty; name the principals of the trusted proxies")
	}
	return p, nil
}
