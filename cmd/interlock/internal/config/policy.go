package config

import (
	"errors"
	"fmt"
	"os"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// InitialPolicy returns the roles and grants for a new store: those of the policy file, or full rights for the bootstrap
// administrator. It is an error if neither is set, or if the file has no roles and no grants.
func (c *Config) InitialPolicy() (*policyfile.File, error) {
	const hint = "name the first administrator: --bootstrap-admin spiffe://trust-domain/name"
	switch {
	case c.Policy != "":
		file, err := ReadPolicy(c.Policy)
		if err == nil && len(file.Roles) == 0 && len(file.Grants) == 0 {
			return nil, cli.Hint(fmt.Errorf("%s has no roles and no grants, so no principal could change the policy", c.Policy), hint)
		}
		return file, err
	case c.BootstrapAdmin != "":
		return bootstrapPolicy(c.BootstrapAdmin)
	}
	return nil, cli.Hint(errors.New("neither policy nor bootstrap-admin is set, so no principal could change the policy"), hint)
}

// ReadPolicy reads a policy file, YAML or JSON.
func ReadPolicy(path string) (*policyfile.File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return policyfile.Parse(path, data)
}

// bootstrapPolicy grants full rights to one principal, and nothing else.
func bootstrapPolicy(id string) (*policyfile.File, error) {
	admin, err := policy.ParsePrincipal(id)
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
		Grants: []policy.Grant{{Principal: admin, Role: "admin", Reason: "bootstrap"}},
	}, nil
}
