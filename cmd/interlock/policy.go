package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
)

func policyCommand() *cobra.Command {
	return group(&cobra.Command{Use: "policy", Short: "Check, read and replace the whole policy"},
		validateCommand(), exportCommand(), applyCommand(), diffCommand())
}

func validateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate FILE", Short: "Check a policy file; needs no server", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := readPolicy(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is good: %d roles, %d grants\n", args[0], len(file.Roles), len(file.Grants))
			return err
		},
	}
}

func exportCommand() *cobra.Command {
	var (
		c      connection
		asJSON bool
		output string
	)
	cmd := &cobra.Command{
		Use: "export", Short: "Print the policy of the server", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			media := "application/yaml"
			if asJSON {
				media = "application/json"
			}
			answer, err := fetchPolicy(cmd.Context(), &c, media)
			if err != nil {
				return err
			}
			if output == "" {
				_, err = cmd.OutOrStdout().Write(answer.Body)
				return err
			}
			return writeFile(output, answer.Body, true)
		},
	}
	c.adminFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON in place of YAML")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to `file`")
	return cmd
}

func fetchPolicy(ctx context.Context, c *connection, media string) (*httpapi.Answer, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	answer, err := client.Call(ctx, http.MethodGet, "/v1/policy", http.Header{"Accept": {media}}, nil)
	return answer, hintFailure(err)
}

func applyCommand() *cobra.Command {
	c := &change{}
	var match string
	cmd := &cobra.Command{
		Use: "apply FILE", Short: "Replace the policy of the server", Args: cobra.ExactArgs(1),
		Long: `Replace the roles and grants of the server by those of the file, as one revision. What
was changed since the policy was read is not overwritten: without --if-match the command
reads it right before, and another change in between is an error.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			if _, err := policy.ParseFile(args[0], data); err != nil {
				return err
			}
			if match == "" {
				current, err := fetchPolicy(cmd.Context(), &c.connection, "application/json")
				if err != nil {
					return err
				}
				match = current.Header.Get("ETag")
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			headers := http.Header{"Content-Type": {mediaOf(args[0])}, "If-Match": {match}}
			answer, err := client.Call(cmd.Context(), http.MethodPut, "/v1/policy"+c.query(), headers, data)
			if err != nil {
				return hintFailure(err)
			}
			return printReceipt(cmd.OutOrStdout(), answer)
		},
	}
	c.updateFlags(cmd)
	cmd.Flags().StringVar(&match, "if-match", "", "`ETag` of the policy that the file was made from")
	c.graceFlag(cmd)
	return cmd
}

func mediaOf(path string) string {
	if strings.EqualFold(filepath.Ext(path), ".json") {
		return "application/json"
	}
	return "application/yaml"
}

func diffCommand() *cobra.Command {
	var c connection
	var from string
	cmd := &cobra.Command{
		Use: "diff FILE", Short: "Say what applying a policy file would change", Args: cobra.ExactArgs(1),
		Long: "Say what applying a policy file would change on the server, or in the policy file\nthat --from names. Exit status 1 means that there are differences.",
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := readPolicy(args[0])
			if err != nil {
				return err
			}
			before, err := diffBase(cmd.Context(), &c, from)
			if err != nil {
				return err
			}
			changes := policy.Diff(before.AllRoles(), before.AllGrants(), to)
			printChanges(cmd.OutOrStdout(), changes)
			if len(changes) > 0 {
				return errDenied
			}
			return nil
		},
	}
	c.adminFlags(cmd)
	cmd.Flags().StringVar(&from, "from", "", "policy `file` to compare with, in place of the server's policy")
	return cmd
}

func diffBase(ctx context.Context, c *connection, from string) (*policy.File, error) {
	if from != "" {
		return readPolicy(from)
	}
	answer, err := fetchPolicy(ctx, c, "application/json")
	if err != nil {
		return nil, err
	}
	file, err := policy.ParseFile("server.json", bytes.Clone(answer.Body))
	if err != nil {
		return nil, errors.Join(errors.New("the server's policy cannot be read"), err)
	}
	return file, nil
}

func printChanges(out io.Writer, changes []policy.Change) {
	for _, c := range changes {
		fmt.Fprintln(out, c)
	}
	if len(changes) == 0 {
		fmt.Fprintln(out, "no differences")
	}
}
