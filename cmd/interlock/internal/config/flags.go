package config

import (
	"errors"

	"github.com/spf13/pflag"
)

// Bind adds the flags that override the configuration. The default of a flag is the current value of its field.
func (c *Config) Bind(f *pflag.FlagSet) {
	f.StringVar(&c.Listen, "listen", c.Listen, "`address` for callers")
	f.StringVar(&c.AdminListen, "admin-listen", c.AdminListen, "`address` for administrators")
	f.StringVar(&c.OperatorListen, "operator-listen", c.OperatorListen, "`address` for operators")
	f.StringVar(&c.Gateway.Listen, "gateway-listen", c.Gateway.Listen, "`address` of the gateway, if it has routes")
	f.StringVar(&c.BaseURL, "base-url", c.BaseURL, "`URL` at which callers reach the server")
	f.Var(folder{&c.Data}, "data", "`folder` of the store (default "+DefaultData+"); \"\" keeps everything in memory")
	f.StringVar(&c.Policy, "policy", c.Policy, "policy `file` for a new store")
	f.StringVar(&c.BootstrapAdmin, "bootstrap-admin", c.BootstrapAdmin, "`principal` that becomes the first administrator of a new store")
	f.StringVar(&c.TLS.Certificate, "tls-certificate", c.TLS.Certificate, "certificate `file` of the server")
	f.StringVar(&c.TLS.Key, "tls-key", c.TLS.Key, "key `file` of the server")
	f.StringVar(&c.TLS.ClientCA, "client-ca", c.TLS.ClientCA, "`file` with the CAs of callers")
	f.TextVar(&c.Log.Level, "log-level", c.Log.Level, "`level` of the log: debug, info, warn or error")
	f.StringVar(&c.Log.Format, "log-format", c.Log.Format, "`format` of the log: text or json")
	f.TextVar(&c.Log.Decisions, "log-decisions", c.Log.Decisions, "`decisions` that are logged: denied, all or off")
	f.TextVar(&c.Log.DecisionsPerSecond, "log-decisions-per-second", c.Log.DecisionsPerSecond, "`number` of decisions that are logged in a second at most")
}

// LoadUnder loads the file and then applies the flags that the command line has set, so that flags override the file. The
// flags must be bound to c.
func (c *Config) LoadUnder(f *pflag.FlagSet, path string) error {
	given := map[string]string{}
	f.Visit(func(flag *pflag.Flag) { given[flag.Name] = flag.Value.String() })
	if err := c.Load(path); err != nil {
		return err
	}
	var errs []error
	for name, value := range given {
		errs = append(errs, f.Set(name, value))
	}
	return errors.Join(errs...)
}

// folder is a [pflag.Value] for a name that may be empty. A nil name is not set.
type folder struct{ name **string }

// String returns the name, empty if it is not set.
func (f folder) String() string {
	if f.name == nil || *f.name == nil {
		return ""
	}
	return **f.name
}

// Set stores the name.
func (f folder) Set(name string) error {
	*f.name = &name
	return nil
}

// Type names the type in help texts.
func (folder) Type() string { return "string" }
