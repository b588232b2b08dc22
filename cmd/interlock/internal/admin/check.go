package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// question is the command check or explain.
type question struct {
	connection
	moment
	cli.Output
	explain    bool
	policyFile string
	properties []string
}

func checkCommand() *cobra.Command {
	return (&question{}).command("check", "Ask whether a principal is allowed something")
}

func explainCommand() *cobra.Command {
	return (&question{explain: true}).command("explain", "Ask why a principal is allowed or denied something")
}

func (q *question) command(name, short string) *cobra.Command {
	cmd := &cobra.Command{
		Use: name + " PRINCIPAL ACTION RESOURCE", Short: short, Args: cli.Needs("PRINCIPAL", "ACTION", "RESOURCE"),
		Long: short + `.

Asks the server, or with --policy a policy file. The answer may be outdated when it is
printed: to authorize an operation, run it through the server or the library. Exit status
0 means allowed, 1 denied, and 2 that there is no answer.`,
		Example: "  interlock " + name + " spiffe://interlock.test/alice orders:write orders/42 --property amount=12",
		RunE: func(cmd *cobra.Command, args []string) error {
			properties, err := parseProperties(q.properties)
			if err != nil {
				return err
			}
			asked, err := query(args, properties)
			if err != nil {
				return err
			}
			if q.explain && q.past(cmd) {
				return q.explainPast(cmd.Context(), cmd.OutOrStdout(), asked)
			}
			if q.policyFile != "" {
				return q.offline(cmd.OutOrStdout(), asked)
			}
			return q.online(cmd.Context(), cmd.OutOrStdout(), asked)
		},
	}
	q.callerFlags(cmd)
	q.AddFlag(cmd)
	cmd.ValidArgsFunction = q.complete(principalNames)
	cmd.Flags().StringVar(&q.policyFile, "policy", "", "policy `file` to ask instead of the server")
	cmd.Flags().StringArrayVar(&q.properties, "property", nil, "property of the resource, `name=value`; a value that is not JSON is text")
	if q.explain {
		q.momentFlags(cmd)
		cmd.MarkFlagsMutuallyExclusive("at", "policy")
	}
	return cmd
}

func parseProperties(pairs []string) (map[string]any, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	properties := map[string]any{}
	for _, pair := range pairs {
		name, text, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--property %q is not of the form name=value", pair)
		}
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			value = text
		}
		properties[name] = value
	}
	return properties, nil
}

// query parses the arguments PRINCIPAL, ACTION and RESOURCE.
func query(args []string, properties map[string]any) (*policy.Query, error) {
	who, err := policy.ParsePrincipal(args[0])
	if err = errors.Join(err, policy.CheckAction(args[1]), policy.CheckResource(args[2])); err != nil {
		return nil, err
	}
	return &policy.Query{
		Principal: who, Action: args[1], Resource: args[2],
		Properties: &policy.Properties{Resource: properties}, Now: time.Now,
	}, nil
}

// offline decides by a policy file, with the same code as the server.
func (q *question) offline(out io.Writer, asked *policy.Query) error {
	file, err := config.ReadPolicy(q.policyFile)
	if err != nil {
		return err
	}
	table, err := file.Table(0)
	if err != nil {
		return err
	}
	record := file.View(0).Record(asked.Principal)
	now := time.Now().UnixNano()
	d := table.Decide(table.Compile(table.Hold(asked.Principal, record, now)), asked)
	d.AttachRecord(record, now)
	answer := client.Decision{Decision: d.Allowed}
	if !q.explain {
		return q.Answer(out, d.Allowed, &answer, verdict(d.Allowed))
	}
	why := d.Explain()
	answer.Context = &client.DecisionContext{Reason: why.Reason.String(), Role: why.Role}
	if why.Permission != nil {
		answer.Context.Permission = why.Permission.String()
	}
	return q.Answer(out, d.Allowed, &answer, why.String())
}

// online asks the server for the current decision.
func (q *question) online(ctx context.Context, out io.Writer, asked *policy.Query) error {
	kind, id, ok := strings.Cut(asked.Resource, "/")
	if !ok {
		return cli.Hint(fmt.Errorf("resource %q has no type", asked.Resource), "the server accepts resources of the form type/id, such as orders/42")
	}
	decisions, err := q.client()
	if err != nil {
		return err
	}
	a, err := decisions.Evaluate(ctx, client.Evaluation{
		Subject:  client.Entity{Type: "principal", ID: asked.Principal.String()},
		Action:   client.Action{Name: asked.Action},
		Resource: client.Entity{Type: kind, ID: id, Properties: asked.Properties.Resource},
	}, client.EvaluateOptions{Explain: q.explain})
	if err != nil {
		return hintFailure(err)
	}
	if q.explain && a.Context != nil {
		return q.Answer(out, a.Decision, a, sayDecision(a))
	}
	return q.Answer(out, a.Decision, a, verdict(a.Decision))
}

// sayDecision returns the text of a decision with its reason, in the form of [policy.Explanation].
func sayDecision(a *client.Decision) string {
	text := verdict(a.Decision)
	if !a.Decision {
		text += " (" + a.Context.Reason + ")"
	}
	if a.Context.Role != "" {
		text += " by role " + a.Context.Role + ", permission " + a.Context.Permission
	}
	return fmt.Sprintf("%s; at revision %d", text, a.Context.Revision)
}

func verdict(allowed bool) string {
	if allowed {
		return "allowed"
	}
	return "denied"
}
