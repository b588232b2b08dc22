package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/interlock-authz/interlock/actors/policy/strictyaml"
	"github.com/interlock-authz/interlock/certs/atomicfile"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// clientContext says how to reach one server. The names of its fields are those of flags.
type clientContext struct {
	Admin  string `yaml:"admin,omitempty" json:"admin,omitzero"`
	Server string `yaml:"server,omitempty" json:"server,omitzero"`
	CA     string `yaml:"ca,omitempty" json:"ca,omitzero"`
	Cert   string `yaml:"cert,omitempty" json:"cert,omitzero"`
	Key    string `yaml:"key,omitempty" json:"key,omitzero"`
}

// clientConfig is the client's configuration file.
type clientConfig struct {
	// Current is the name of the context that commands use; empty for none.
	Current  string                   `yaml:"current-context,omitempty" json:"currentContext,omitzero"`
	Contexts map[string]clientContext `yaml:"contexts,omitempty" json:"contexts"`
}

// clientConfigPath returns $XDG_CONFIG_HOME/interlock/config.yaml. The default of the variable is ~/.config.
func clientConfigPath() (string, error) {
	if folder := os.Getenv("XDG_CONFIG_HOME"); folder != "" {
		return filepath.Join(folder, "interlock", "config.yaml"), nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".config", "interlock", "config.yaml"), err
}

// loadClientConfig reads the client's configuration. A missing file has no contexts.
func loadClientConfig() (*clientConfig, error) {
	c := &clientConfig{Contexts: map[string]clientContext{}}
	path, err := clientConfigPath()
	if err != nil {
		return c, nil // without a home directory there is no file
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	if err := strictyaml.Decode(text, c); err != nil && !errors.Is(err, strictyaml.ErrEmpty) {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	return c, nil
}

// current returns the context that commands use. It is empty if none is selected.
func (c *clientConfig) current() (clientContext, error) {
	if c.Current == "" {
		return clientContext{}, nil
	}
	return c.context(c.Current)
}

func (c *clientConfig) context(name string) (clientContext, error) {
	found, ok := c.Contexts[name]
	if !ok {
		return found, cli.Hint(fmt.Errorf("context %q: unknown", name), "interlock config get-contexts lists the contexts")
	}
	return found, nil
}

// save writes the client's configuration with mode 0600.
func (c *clientConfig) save() error {
	path, err := clientConfigPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	text, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	return atomicfile.Replace(atomicfile.File{Path: path, Data: text, Mode: modePrivate})
}

func clientConfigCommand() *cobra.Command {
	return cli.Group(&cobra.Command{
		Use: "config", Short: "Manage named contexts of the client",
		Long: `Manage named contexts. A context says how the client commands reach one server: the
URLs of its listeners, the CA and the client certificate. The contexts are in
$XDG_CONFIG_HOME/interlock/config.yaml.

Flags override environment variables, and environment variables override the context:
INTERLOCK_ADMIN, INTERLOCK_SERVER, INTERLOCK_CA, INTERLOCK_CERT and INTERLOCK_KEY.
Without any of them the commands use the files in ./` + cli.DevFolder + `.`,
	}, setContextCommand(), useContextCommand(), getContextsCommand(), deleteContextCommand())
}

func setContextCommand() *cobra.Command {
	var given clientContext
	cmd := &cobra.Command{
		Use: "set-context NAME", Short: "Add or change a context", Args: needs("NAME"),
		Long: "Add a context, or change the given settings of an existing one. The first context that\nis added is used at once.",
		Example: "  interlock config set-context prod --admin https://authz.example.org:8444 \\\n" +
			"    --ca ca.crt --cert me.crt --key me.key",
		ValidArgsFunction: completeContexts,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := loadClientConfig()
			if err != nil {
				return err
			}
			if c.Contexts[args[0]], err = c.Contexts[args[0]].with(given); err != nil {
				return err
			}
			if len(c.Contexts) == 1 {
				c.Current = args[0]
			}
			return c.save()
		},
	}
	f := cmd.Flags()
	f.StringVar(&given.Admin, "admin", "", "`URL` of the listener for administrators")
	f.StringVar(&given.Server, "server", "", "`URL` of the listener for callers")
	f.StringVar(&given.CA, "ca", "", "CA `file` of the server")
	f.StringVar(&given.Cert, "cert", "", "client certificate `file`")
	f.StringVar(&given.Key, "key", "", "client key `file`")
	return cmd
}

// with returns the context with the settings of other that are not empty. Paths become absolute.
func (c clientContext) with(other clientContext) (clientContext, error) {
	for _, u := range []struct {
		flag     string
		from, to *string
	}{{"admin", &other.Admin, &c.Admin}, {"server", &other.Server, &c.Server}} {
		if *u.from == "" {
			continue
		}
		if err := checkURL("--"+u.flag, *u.from); err != nil {
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

func useContextCommand() *cobra.Command {
	return &cobra.Command{
		Use: "use-context NAME", Short: "Select the context that commands use", Args: needs("NAME"),
		ValidArgsFunction: completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			return changeContext(args[0], func(c *clientConfig) { c.Current = args[0] })
		},
	}
}

func deleteContextCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete-context NAME", Short: "Delete a context", Args: needs("NAME"),
		ValidArgsFunction: completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			return changeContext(args[0], func(c *clientConfig) {
				delete(c.Contexts, args[0])
				if c.Current == args[0] {
					c.Current = ""
				}
			})
		},
	}
}

// changeContext changes the configuration, which must have a context with this name.
func changeContext(name string, change func(*clientConfig)) error {
	c, err := loadClientConfig()
	if err != nil {
		return err
	}
	if _, err := c.context(name); err != nil {
		return err
	}
	change(c)
	return c.save()
}

func getContextsCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "get-contexts", Short: "List the contexts; a star marks the current one", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadClientConfig()
			if err != nil {
				return err
			}
			return o.write(cmd.OutOrStdout(), c, func(out io.Writer) error {
				for _, name := range slices.Sorted(maps.Keys(c.Contexts)) {
					mark := " "
					if name == c.Current {
						mark = "*"
					}
					fmt.Fprintf(out, "%s %s  %s\n", mark, name, c.Contexts[name].Admin)
				}
				return nil
			})
		},
	}
	o.outputFlag(cmd)
	return cmd
}

func completeContexts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, err := loadClientConfig()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(c.Contexts)), cobra.ShellCompDirectiveNoFileComp
}
