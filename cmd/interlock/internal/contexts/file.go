package contexts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/interlock-authz/interlock/actors/policy/strictyaml"
	"github.com/interlock-authz/interlock/certs/atomicfile"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// file is the client's configuration file.
type file struct {
	// Current is the name of the selected context; empty for none.
	Current  string             `yaml:"current-context,omitempty" json:"currentContext,omitzero"`
	Contexts map[string]Context `yaml:"contexts,omitempty" json:"contexts"`
}

// filePath returns $XDG_CONFIG_HOME/interlock/config.yaml. The default of the variable is ~/.config.
func filePath() (string, error) {
	if folder := os.Getenv("XDG_CONFIG_HOME"); folder != "" {
		return filepath.Join(folder, "interlock", "config.yaml"), nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".config", "interlock", "config.yaml"), err
}

// load reads the file. A missing file has no contexts.
func load() (*file, error) {
	f := &file{Contexts: map[string]Context{}}
	path, err := filePath()
	if err != nil {
		return f, nil // without a home directory there is no file
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	if err := strictyaml.Decode(text, f); err != nil && !errors.Is(err, strictyaml.ErrEmpty) {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	return f, nil
}

// context returns the context with this name.
func (f *file) context(name string) (Context, error) {
	found, ok := f.Contexts[name]
	if !ok {
		return found, cli.Hint(fmt.Errorf("context %q: unknown", name), "interlock config get-contexts lists the contexts")
	}
	return found, nil
}

// save writes the file with mode 0600.
func (f *file) save() error {
	path, err := filePath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	text, err := yaml.Marshal(f)
	if err != nil {
		return err
	}
	return atomicfile.Replace(atomicfile.File{Path: path, Data: text, Mode: 0o600})
}

// change changes the file, which must have a context with this name.
func change(name string, apply func(*file)) error {
	f, err := load()
	if err != nil {
		return err
	}
	if _, err := f.context(name); err != nil {
		return err
	}
	apply(f)
	return f.save()
}
