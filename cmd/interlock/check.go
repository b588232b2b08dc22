package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
)

// question is what check and explain ask.
type question struct {
	connection
	policyFile string
	properties []string
}

func checkCommand() *cobra.Command {
	return (&question{}).command("check PRINCIPAL ACTION RESOURCE", "Ask whether a principal may do something", false)
}

func explainCommand() *cobra.Command {
	return (&question{}).command("explain PRINCIPAL ACTION RESOURCE", "Ask why a principal may do something, or may not", true)
}

func (q *question) command(use, short string, explain bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(3),
		Long: short + `.

Asks the server, or with --policy a policy file. The answer is one moment's: an operation
is authorized only by bringing it to the server, or to the library. Exit status 0 means
allowed, 1 denied, 2 that there was no answer.`,
		Example: "  interlock " + strings.Fields(use)[0] + " spiffe://interlock.test/alice orders:write orders/42 --property amount=12",
		RunE: func(cmd *cobra.Command, args []string) error {
			properties, err := parseProperties(q.properties)
			if err != nil {
				return err
			}
			if q.policyFile != "" {
				return q.offline(cmd.OutOrStdout(), args, properties, explain)
			}
			return q.online(cmd.Context(), cmd.OutOrStdout(), args, properties, explain)
		},
	}
	q.flags(cmd)
	cmd.Flags().StringVar(&q.policyFile, "policy", "", "policy `file` to ask in place of the server")
	cmd.Flags().StringArrayVar(&q.properties, "property", nil, "a property of the resource, `name=value`; the value as JSON, or else text")
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

// offline decides by a policy file, with the code by which the server does.
func (q *question) offline(out io.Writer, args []string, properties map[string]any, explain bool) error {
	file, err := readPolicy(q.policyFile)
	if err != nil {
		return err
	}
	who, err := policy.ParsePrincipal(args[0])
	if err != nil {
		return err
	}
	table, err := file.Table(0)
	if err != nil {
		return err
	}
	record := &policy.Record{}
	for _, g := range file.Grants {
		if g.Principal == who {
			record.Grants = append(record.Grants, g)
		}
	}
	now := time.Now()
	d := table.Decide(table.Compile(table.Hold(who, record, now.UnixNano())), &policy.Query{
		Principal: who, Action: args[1], Resource: args[2],
		Properties: &policy.Properties{Resource: properties}, Now: time.Now,
	})
	d.Concern(record, now.UnixNano())
	text := d.Reason.String()
	if explain {
		text = d.Explain().String()
	}
	return say(out, d.Allowed, text)
}

// evaluation is a request of AuthZEN.
type evaluation struct {
	Subject  entity         `json:"subject"`
	Action   map[string]any `json:"action"`
	Resource entity         `json:"resource"`
}

type entity struct {
	Type       string         `json:"type"`
	ID         string         `json:"id"`
	Properties map[string]any `json:"properties,omitempty"`
}

func (q *question) online(ctx context.Context, out io.Writer, args []string, properties map[string]any, explain bool) error {
	client, err := q.callers()
	if err != nil {
		return err
	}
	kind, id, ok := strings.Cut(args[2], "/")
	if !ok {
		return hint(fmt.Errorf("the resource %q has no type", args[2]), "the server takes resources of the form type/id, such as orders/42")
	}
	path := "/access/v1/evaluation"
	if explain {
		path += "?explain=true"
	}
	answer, err := client.Call(ctx, http.MethodPost, path, nil, evaluation{
		Subject: entity{Type: "principal", ID: args[0]}, Action: map[string]any{"name": args[1]},
		Resource: entity{Type: kind, ID: id, Properties: properties},
	})
	if err != nil {
		return explainFailure(err)
	}
	var d struct {
		Decision bool           `json:"decision"`
		Context  map[string]any `json:"context"`
	}
	if err := json.Unmarshal(answer.Body, &d); err != nil {
		return err
	}
	text := map[bool]string{true: "allowed", false: "denied"}[d.Decision]
	if explanation, ok := d.Context["explanation"].(string); ok {
		text = explanation
	}
	return say(out, d.Decision, text)
}

// say prints the answer and makes the exit status of it.
func say(out io.Writer, allowed bool, text string) error {
	if _, err := fmt.Fprintln(out, text); err != nil {
		return err
	}
	if !allowed {
		return errDenied
	}
	return nil
}
