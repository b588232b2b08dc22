package main

import (
	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/cmd/interlock/internal/admin"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/ca"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/contexts"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/serve"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

func rootCommand() *cobra.Command {
	root := cli.Group(&cobra.Command{
		Use:     "interlock",
		Version: cli.Version(),
		Short:   "Atomic authorization: no gap between check and use",
		Long: `interlock is an authorization engine. Each principal is an actor that owns its
permissions; requests and revocations queue in one mailbox. When a revocation
returns, no operation that it forbids is running, and none will start.

Begin with:  interlock serve --dev`,
	}, serve.Command(), ca.Command(), contexts.Command(), cli.VersionCommand("interlock"))
	root.AddCommand(admin.Commands()...)
	return root
}
