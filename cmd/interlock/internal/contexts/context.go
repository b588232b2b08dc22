// Package contexts has the client's named contexts: what they hold, the file that keeps them, and the command interlock
// config.
package contexts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// Context says how the client reaches one server. An empty field is not set.
type Context struct {
	// Admin and Server are the URLs of the listeners for administrators and for callers.
	Admin  string `yaml:"admin,omitempty" json:"admin,omitzero"`
	Server string `yaml:"server,omitempty" json:"server,omitzero"`
	// CA, Cert and Key are paths of files.
	CA   string `yaml:"ca,omitempty" json:"ca,omitzero"`
	Cert string `yaml:"cert,omitempty" json:"cert,omitzero"`
	Key  string `yaml:"key,omitempty" json:"key,omitzero"`
}

// Current returns the context that the user has selected. It is empty if none is selected.
func Current() (Context, error) {
	f, err := load()
	if err != nil || f.Current == "" {
		return Context{}, err
	}
	return f.context(f.Current)
}

// FromEnvironment returns the settings of the variables INTERLOCK_ADMIN, INTERLOCK_SERVER, INTERLOCK_CA, INTERLOCK_CERT
// and INTERLOCK_KEY.
func FromEnvironment() Context {
	return Context{
		Admin: os.Getenv("INTERLOCK_ADMIN"), Server: os.Getenv("INTERLOCK_SERVER"),
		CA: os.Getenv("INTERLOCK_CA"), Cert: os.Getenv("INTERLOCK_CERT"), Key: os.Getenv("INTERLOCK_KEY"),
	}
}

// CheckURL returns an error for a URL without a scheme. Name says where the URL is from, such as "--admin".
func CheckURL(name, url string) error {
	if strings.Contains(url, "://") {
		return nil
	}
	return cli.Hint(fmt.Errorf("%s: %q has no scheme", name, url), "write https://%s", url)
}

// with returns the context with the fields of other that are set. Paths become absolute.
func (c Context) with(other Context) (Context, error) {
	for _, u := range []struct {
		flag     string
		from, to *string
	}{{"--admin", &other.Admin, &c.Admin}, {"--server", &other.Server, &c.Server}} {
		if *u.from == "" {
			continue
		}
		if err := CheckURL(u.flag, *u.from); err != nil {
			return c, err
		}
		*u.to = *u.from
	}
	for _, p := range []struct{ from, to *string }{{&other.CA, &c.CA}, {&other.Cert, &c.Cert}, {&other.Key, &c.Key}} {
		if *p.from == "" {
			continue
		}
		absolute, err := filepath.Abs(*p.from)
		if err != nil {
			return c, err
		}
		*p.to = absolute
	}
	return c, nil
}
