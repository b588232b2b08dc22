package main

import (
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// output is the format in which a command prints its answer. It is the value of the flag --output.
type output string

// The formats. A table is text for people; JSON and YAML have the fields of the API.
const (
	outputTable output = "table"
	outputJSON  output = "json"
	outputYAML  output = "yaml"
)

// outputFlag adds the flag to a command and to its subcommands.
func (o *output) outputFlag(cmd *cobra.Command) {
	*o = outputTable
	cmd.PersistentFlags().VarP(o, "output", "o", "`format`: table, json or yaml")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(
		[]string{string(outputTable), string(outputJSON), string(outputYAML)}, cobra.ShellCompDirectiveNoFileComp))
}

// String returns the name of the format. It implements pflag.Value, as Set and Type do.
func (o *output) String() string { return string(*o) }

// Set selects a format by its name.
func (o *output) Set(name string) error {
	switch output(name) {
	case outputTable, outputJSON, outputYAML:
		*o = output(name)
		return nil
	}
	return fmt.Errorf("the format is table, json or yaml")
}

// Type returns the name that the help shows for a value.
func (o *output) Type() string { return "format" }

// write prints a document. JSON is one line for each document, and YAML begins each document with "---", so that a
// stream has the same form. A table is what table prints.
func (o *output) write(out io.Writer, document any, table func(io.Writer) error) error {
	if *o != outputJSON && *o != outputYAML {
		return table(out)
	}
	text, err := json.Marshal(document, json.Deterministic(true))
	if err != nil {
		return err
	}
	if *o == outputYAML {
		if text, err = yamlOfJSON(text); err != nil {
			return err
		}
		text = append([]byte("---\n"), text...)
	} else {
		text = append(text, '\n')
	}
	_, err = out.Write(text)
	return err
}

// answer prints a decision. It returns [cli.ErrDenied] if the decision is no.
func (o *output) answer(out io.Writer, allowed bool, document any, text string) error {
	err := o.write(out, document, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, text)
		return err
	})
	if err == nil && !allowed {
		return cli.ErrDenied
	}
	return err
}

// yamlOfJSON writes JSON as YAML, with the fields in the same order.
func yamlOfJSON(text []byte) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	plainStyle(&document)
	return yaml.Marshal(&document)
}

// plainStyle removes the quotes and braces of JSON. The encoder quotes again what YAML would misread.
func plainStyle(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		plainStyle(child)
	}
}

// reject prints why an answer is negative to standard error, and returns [cli.ErrDenied].
func reject(cmd *cobra.Command, err error, hint string) error {
	fmt.Fprintln(cmd.ErrOrStderr(), "error:", err)
	fmt.Fprintln(cmd.ErrOrStderr(), "hint: ", hint)
	return cli.ErrDenied
}
