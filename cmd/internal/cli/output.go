package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// Output is the format in which a command prints its answer. It is the value of the flag --output. The zero value prints
// a table.
type Output string

// The formats. A table is text for people; JSON and YAML have the fields of the API.
const (
	outputTable Output = "table"
	outputJSON  Output = "json"
	outputYAML  Output = "yaml"
)

// AddFlag adds the flag --output to a command and to its subcommands.
func (o *Output) AddFlag(cmd *cobra.Command) {
	*o = outputTable
	cmd.PersistentFlags().VarP(o, "output", "o", "`format`: table, json or yaml")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(
		[]string{string(outputTable), string(outputJSON), string(outputYAML)}, cobra.ShellCompDirectiveNoFileComp))
}

// String returns the name of the format. Output implements pflag.Value.
func (o *Output) String() string { return string(*o) }

// Set selects a format by its name.
func (o *Output) Set(name string) error {
	switch Output(name) {
	case outputTable, outputJSON, outputYAML:
		*o = Output(name)
		return nil
	}
	return errors.New("the format is table, json or yaml")
}

// Type returns the name that the help shows for a value.
func (o *Output) Type() string { return "format" }

// Write prints a document. JSON is one line for each document, and YAML begins each document with "---", so that a
// stream has the same form. A table is what table prints. Tables and JSON have no control characters.
func (o *Output) Write(out io.Writer, document any, table func(io.Writer) error) error {
	if *o != outputJSON && *o != outputYAML {
		return table(plain{out})
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
		out, text = plain{out}, append(text, '\n')
	}
	_, err = out.Write(text)
	return err
}

// Answer prints a document whose table is one text. It returns [ErrDenied] if the answer is no.
func (o *Output) Answer(out io.Writer, yes bool, document any, text string) error {
	err := o.Write(out, document, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, text)
		return err
	})
	if err == nil && !yes {
		return ErrDenied
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
