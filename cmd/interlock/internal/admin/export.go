package admin

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// mediaOfFormat maps the values of --output to media types.
var mediaOfFormat = map[string]string{"yaml": client.MediaYAML, "json": client.MediaJSON, "ndjson": client.MediaLines}

// export is the command policy export.
type export struct {
	connection
	format string
	file   string
	at     string
}

// options selects the current policy, or that of the revision in --at.
func (e *export) options() (o client.PolicyOptions, err error) {
	if e.at == "" {
		return o, nil
	}
	at, err := strconv.ParseUint(e.at, 10, 64)
	if err != nil {
		return o, fmt.Errorf("--at %q is not a revision", e.at)
	}
	return client.PolicyOptions{At: &at}, nil
}

func exportCommand() *cobra.Command {
	e := &export{}
	cmd := &cobra.Command{
		Use: "export [FILE]", Short: "Read the policy of the server", Args: cli.AtMostOne("FILE"),
		Long: `Read the policy of the server and print it, or write it to a file. The command replaces
an existing file, but only by a complete one. The format is YAML unless --output, or the
extension of the file's name, says otherwise. The format ndjson, one JSON object a line,
is streamed, and suits a policy of a million grants.`,
		Example: "  interlock policy export policy.yaml\n  interlock policy export --output ndjson > policy.ndjson",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				e.file = args[0]
			}
			return e.run(cmd)
		},
	}
	e.adminFlags(cmd)
	cmd.Flags().StringVarP(&e.format, "output", "o", "", "`format`: yaml, json or ndjson (default yaml)")
	cmd.Flags().StringVar(&e.at, "at", "", "read the policy of this past `revision`")
	return cmd
}

func (e *export) run(cmd *cobra.Command) error {
	if suffix := strings.TrimPrefix(filepath.Ext(e.file), "."); e.format == "" && mediaOfFormat[suffix] != "" {
		e.format = suffix
	}
	media, ok := mediaOfFormat[cmp.Or(e.format, "yaml")]
	if !ok {
		return fmt.Errorf("--output %q is unknown; it must be yaml, json or ndjson", e.format)
	}
	fill := func(w io.Writer) error { return e.whole(cmd.Context(), w, media) }
	if media == client.MediaLines {
		fill = func(w io.Writer) error { return e.lines(cmd, w) }
	}
	if e.file == "" {
		return fill(cmd.OutOrStdout())
	}
	return fillFile(e.file, fill)
}

// whole reads a policy within the timeout.
func (e *export) whole(ctx context.Context, w io.Writer, media string) error {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	body, err := e.open(ctx, media)
	if err != nil {
		return hintFailure(err)
	}
	defer body.Close()
	_, err = io.Copy(w, body)
	return err
}

// open requests the policy. The caller closes it.
func (e *export) open(ctx context.Context, media string) (io.ReadCloser, error) {
	options, err := e.options()
	if err != nil {
		return nil, err
	}
	admin, err := e.client()
	if err != nil {
		return nil, err
	}
	body, _, err := admin.OpenPolicy(ctx, media, options)
	return body, err
}

// lines reads the policy as a stream, and checks that it is complete.
func (e *export) lines(cmd *cobra.Command, w io.Writer) error {
	t := newTransfer(cmd.Context(), newProgress(cmd.ErrOrStderr(), "export", 0), e.timeout)
	defer t.end()
	body, err := e.open(t.ctx, client.MediaLines)
	if err != nil {
		return t.explain(hintFailure(err))
	}
	defer body.Close()
	var tally policyfile.LineTally
	if _, err := io.Copy(io.MultiWriter(w, &tally, t), body); err != nil {
		return t.explain(fmt.Errorf("read the policy: %w", err))
	}
	return t.explain(tally.Check("export"))
}
