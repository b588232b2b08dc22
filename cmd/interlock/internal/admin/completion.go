package admin

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/httpapi/client"
)

// completionTimeout bounds how long a completion waits for the server.
const completionTimeout = 2 * time.Second

// complete offers names from the policy of the server. Each argument has its own function, in order. It offers nothing if
// the server does not answer.
func (c *connection) complete(names ...func(*client.Policy) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(names) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		admin, err := c.toAdmin().client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		all, _, err := admin.Policy(ctx, client.PolicyOptions{})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var matches []string
		for _, name := range names[len(args)](all) {
			if strings.HasPrefix(name, prefix) {
				matches = append(matches, name)
			}
		}
		return matches, cobra.ShellCompDirectiveNoFileComp
	}
}
