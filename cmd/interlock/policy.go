package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

func policyCommand() *cobra.Command {
	return cli.Group(&cobra.Command{Use: "policy", Short: "Check, read and replace the whole policy"},
		validateCommand(), exportCommand(), applyCommand(), diffCommand())
}

func validateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate FILE", Short: "Check a policy file; needs no server", Args: needs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := loadPolicy(cmd, args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is good: %d roles, %d grants\n", args[0], len(file.Roles), len(file.Grants))
			return err
		},
	}
}

// loadPolicy reads a policy file. One in lines may be large: it is read as a stream.
func loadPolicy(cmd *cobra.Command, path string) (*policyfile.File, error) {
	if !inLines(path) {
		return config.ReadPolicy(path)
	}
	file, size, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	t := newTransfer(cmd.Context(), newProgress(cmd.ErrOrStderr(), "reading "+path, size), noTimeout)
	defer t.end()
	loaded, err := policyfile.ReadLines(path, io.TeeReader(file, t))
	return loaded, t.explain(err)
}

func inLines(path string) bool { return strings.HasSuffix(path, policyfile.LinesSuffix) }

func openFile(path string) (file *os.File, size int64, err error) {
	if file, err = os.Open(path); err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

// mediaOfFormat are the forms of an export.
var mediaOfFormat = map[string]string{"yaml": client.MediaYAML, "json": client.MediaJSON, "ndjson": client.MediaLines}

// export is a command that reads the policy of the server.
type export struct {
	connection
	format string
	file   string
	at     string
}

// options select the policy as it is, or that of a revision.
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
		Use: "export [FILE]", Short: "Read the policy of the server", Args: atMostOne("FILE"),
		Long: `Read the policy of the server and print it, or write it to a file. A file appears when it
complete, and replaces an existing one. The format is YAML unless --output, or the
extension of the file's name, says otherwise. Use ndjson, one JSON object a line, for a
policy of a million grants: it is streamed.`,
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
	cmd.Flags().StringVar(&e.at, "at", "", "as it was at this `revision`")
	return cmd
}

func (e *export) run(cmd *cobra.Command) error {
	if suffix := strings.TrimPrefix(filepath.Ext(e.file), "."); e.format == "" && mediaOfFormat[suffix] != "" {
		e.format = suffix
	}
	media, ok := mediaOfFormat[cmp.Or(e.format, "yaml")]
	if !ok {
		return fmt.Errorf("--output %q is none of yaml, json and ndjson", e.format)
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

// whole gets the policy in one piece.
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

// open begins to read the policy.
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

// lines gets the policy as a stream, and checks that it is complete.
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
		return t.explain(fmt.Errorf("the export broke off: %w", err))
	}
	return t.explain(tally.Check("export"))
}

// apply is a command that replaces the policy of the server.
type apply struct {
	change
	match string
}

func applyCommand() *cobra.Command {
	a := &apply{}
	cmd := &cobra.Command{
		Use: "apply FILE", Short: "Replace the policy of the server", Args: needs("FILE"),
		Long: `Replace the roles and grants of the server by those of the file, as one revision. What
was changed since the policy was read is not overwritten: without --if-match the command
asks for the revision right before, and another change in between is an error. A file in
lines (.ndjson) is sent as it is read, and the server checks it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			send := a.whole
			if inLines(args[0]) {
				send = a.lines
			}
			result, err := send(cmd, args[0])
			if err != nil {
				return err
			}
			admin, err := a.client()
			if err != nil {
				return err
			}
			_, err = a.print(cmd, admin, result)
			return errors.Join(err, unquiesced(result))
		},
	}
	a.updateFlags(cmd)
	cmd.Flags().StringVar(&a.match, "if-match", "", "`ETag` of the policy that the file was made from")
	a.graceFlag(cmd)
	return cmd
}

// whole sends a file in one piece.
func (a *apply) whole(cmd *cobra.Command, path string) (*client.Result, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if _, err := policyfile.Parse(path, data); err != nil {
		return nil, err
	}
	admin, err := a.client()
	if err != nil {
		return nil, err
	}
	body := client.PolicyBody{Media: mediaOf(path), Reader: bytes.NewReader(data), Size: int64(len(data))}
	return a.put(cmd.Context(), admin, body)
}

// put sends a policy. It gets the ETag for If-Match unless that was given.
func (a *apply) put(ctx context.Context, admin *client.Client, body client.PolicyBody) (*client.Result, error) {
	options := a.options()
	if options.IfMatch = a.match; options.IfMatch == "" {
		etag, err := admin.PolicyETag(ctx)
		if err != nil {
			return nil, hintFailure(err)
		}
		options.IfMatch = etag
	}
	result, err := admin.PutPolicy(ctx, body, options)
	return result, hintFailure(err)
}

// lines sends a file as it is read. One that is cut off is not sent at all.
func (a *apply) lines(cmd *cobra.Command, path string) (*client.Result, error) {
	file, size, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	shown := newProgress(cmd.ErrOrStderr(), "apply", size)
	shown.then = "all of it was sent, the server is at work"
	t := newTransfer(cmd.Context(), shown, a.timeout)
	defer t.end()
	if err := checkWhole(path, file); err != nil {
		return nil, err
	}
	admin, err := a.client()
	if err != nil {
		return nil, err
	}
	result, err := a.put(t.ctx, admin, client.PolicyBody{Media: client.MediaLines, Reader: io.TeeReader(file, t), Size: size})
	return result, t.explain(err)
}

// checkWhole reads a file in lines for its end, and goes back to its beginning.
func checkWhole(path string, file *os.File) error {
	var tally policyfile.LineTally
	if _, err := io.Copy(&tally, file); err != nil {
		return err
	}
	if err := tally.Check(path); err != nil {
		return cli.Hint(err, "nothing was sent; export the policy again, or add the end line if the file is complete")
	}
	_, err := file.Seek(0, io.SeekStart)
	return err
}

func mediaOf(path string) string {
	if strings.EqualFold(filepath.Ext(path), ".json") {
		return client.MediaJSON
	}
	return client.MediaYAML
}

func diffCommand() *cobra.Command {
	var c connection
	var o output
	var from string
	cmd := &cobra.Command{
		Use: "diff FILE", Short: "Say what applying a policy file would change", Args: needs("FILE"),
		Long: "Say what applying a policy file would change on the server, or in the policy file\nthat --from names. Exit status 1 means that there are differences.",
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := loadPolicy(cmd, args[0])
			if err != nil {
				return err
			}
			before, err := diffBase(cmd, &c, from)
			if err != nil {
				return err
			}
			changes := policyfile.Diff(before.AllRoles(), before.AllGrants(), to)
			lines, err := policyfile.DescribeChanges(before.View(0), changes)
			if err != nil {
				return err
			}
			err = o.write(cmd.OutOrStdout(), specsOf(changes), func(out io.Writer) error { return printLines(out, lines) })
			if err == nil && len(changes) > 0 {
				return cli.ErrDenied
			}
			return err
		},
	}
	c.adminFlags(cmd)
	o.outputFlag(cmd)
	cmd.Flags().StringVar(&from, "from", "", "policy `file` to compare with, in place of the server's policy")
	return cmd
}

func diffBase(cmd *cobra.Command, c *connection, from string) (*policyfile.File, error) {
	if from != "" {
		return loadPolicy(cmd, from)
	}
	admin, err := c.client()
	if err != nil {
		return nil, err
	}
	file, err := readServerPolicy(cmd, admin, c.timeout)
	return file, hintFailure(err)
}

// readServerPolicy reads the policy of the server as a stream. It fails if the stream makes no progress for the time
// idle.
func readServerPolicy(cmd *cobra.Command, admin *client.Client, idle time.Duration) (*policyfile.File, error) {
	t := newTransfer(cmd.Context(), newProgress(cmd.ErrOrStderr(), "reading the server's policy", 0), idle)
	defer t.end()
	body, _, err := admin.OpenPolicy(t.ctx, client.MediaLines, client.PolicyOptions{})
	if err != nil {
		return nil, t.explain(err)
	}
	defer body.Close()
	file, err := policyfile.ReadLines("server"+policyfile.LinesSuffix, io.TeeReader(body, t))
	if err != nil {
		return nil, t.explain(fmt.Errorf("read the server's policy: %w", err))
	}
	return file, nil
}

// specsOf returns changes in the form of the API.
func specsOf(changes []policy.Change) client.Changes {
	specs := make([]policy.ChangeSpec, 0, len(changes))
	for _, c := range changes {
		specs = append(specs, policy.SpecOfChange(c))
	}
	return client.Changes{Changes: specs}
}

func printLines(out io.Writer, lines []string) error {
	w := bufio.NewWriter(out)
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	if len(lines) == 0 {
		fmt.Fprintln(w, "no differences")
	}
	return w.Flush()
}
