package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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
func loadPolicy(cmd *cobra.Command, path string) (*policy.File, error) {
	if !inLines(path) {
		return readPolicy(path)
	}
	file, size, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	t := newTransfer(cmd.Context(), newProgress(cmd.ErrOrStderr(), "reading "+path, size), noTimeout)
	defer t.end()
	loaded, err := policy.ReadLines(path, io.TeeReader(file, t))
	return loaded, t.explain(err)
}

func inLines(path string) bool { return strings.HasSuffix(path, policy.LinesSuffix) }

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
var mediaOfFormat = map[string]string{"yaml": "application/yaml", "json": "application/json", "ndjson": policy.LinesMedia}

// export is a command that reads the policy of the server.
type export struct {
	connection
	format string
	output string
	at     string
}

// path names the policy, or the one at a revision.
func (e *export) path() string {
	if e.at == "" {
		return "/v1/policy"
	}
	return "/v1/policy?at=" + url.QueryEscape(e.at)
}

func exportCommand() *cobra.Command {
	e := &export{}
	var asJSON bool
	cmd := &cobra.Command{
		Use: "export [FILE]", Short: "Read the policy of the server", Args: cobra.MaximumNArgs(1),
		Long: `Read the policy of the server and print it, or write it to a file. A file appears when it
is whole, in place of one that is there. The form is YAML unless --format, or the end of
the file's name, says otherwise; ndjson, one JSON object a line, is the form for a policy
of a million grants, which is then nowhere held as a whole.`,
		Example: "  interlock policy export policy.yaml\n  interlock policy export --format ndjson > policy.ndjson",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				e.output = args[0]
			}
			if asJSON {
				e.format = "json"
			}
			return e.run(cmd)
		},
	}
	e.adminFlags(cmd)
	cmd.Flags().StringVar(&e.format, "format", "", "`form`: yaml, json or ndjson (default yaml)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "the same as --format json")
	cmd.Flags().StringVarP(&e.output, "output", "o", "", "the same as FILE")
	cmd.Flags().StringVar(&e.at, "at", "", "as it was at this `revision`")
	cmd.MarkFlagsMutuallyExclusive("format", "json")
	return cmd
}

func (e *export) run(cmd *cobra.Command) error {
	if suffix := strings.TrimPrefix(filepath.Ext(e.output), "."); e.format == "" && mediaOfFormat[suffix] != "" {
		e.format = suffix
	}
	media, ok := mediaOfFormat[cmp.Or(e.format, "yaml")]
	if !ok {
		return fmt.Errorf("--format %q is none of yaml, json and ndjson", e.format)
	}
	fill := func(w io.Writer) error { return e.whole(cmd.Context(), w, media) }
	if media == policy.LinesMedia {
		fill = func(w io.Writer) error { return e.lines(cmd, w) }
	}
	if e.output == "" {
		return fill(cmd.OutOrStdout())
	}
	return fillFile(e.output, fill)
}

// whole gets the policy in one piece.
func (e *export) whole(ctx context.Context, w io.Writer, media string) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	answer, err := client.Call(ctx, http.MethodGet, e.path(), http.Header{"Accept": {media}}, nil)
	if err != nil {
		return hintFailure(err)
	}
	_, err = w.Write(answer.Body)
	return err
}

// lines gets the policy as it comes, and wants it to be whole.
func (e *export) lines(cmd *cobra.Command, w io.Writer) error {
	t := newTransfer(cmd.Context(), newProgress(cmd.ErrOrStderr(), "export", 0), e.timeout)
	defer t.end()
	answer, err := e.stream(t, e.path())
	if err != nil {
		return err
	}
	defer answer.Close()
	var tally policy.LineTally
	if _, err := io.Copy(io.MultiWriter(w, &tally, t), answer); err != nil {
		return t.explain(fmt.Errorf("the export broke off: %w", err))
	}
	return t.explain(tally.Check("export"))
}

// stream opens the policy of the server in lines.
func (c *connection) stream(t *transfer, path string) (io.ReadCloser, error) {
	client, err := c.patientClient()
	if err != nil {
		return nil, err
	}
	answer, err := client.Stream(t.ctx, path, http.Header{"Accept": {policy.LinesMedia}})
	if err != nil {
		return nil, t.explain(hintFailure(err))
	}
	return answer.Body, nil
}

// patientClient is a client for transfers, which have a limit of their own.
func (c *connection) patientClient() (*httpapi.Client, error) {
	client, err := c.client()
	if err == nil {
		client.HTTP.Timeout = 0
	}
	return client, err
}

// apply is a command that replaces the policy of the server.
type apply struct {
	change
	match string
}

func applyCommand() *cobra.Command {
	a := &apply{}
	cmd := &cobra.Command{
		Use: "apply FILE", Short: "Replace the policy of the server", Args: cobra.ExactArgs(1),
		Long: `Replace the roles and grants of the server by those of the file, as one revision. What
was changed since the policy was read is not overwritten: without --if-match the command
asks for the revision right before, and another change in between is an error. A file in
lines (.ndjson) is sent as it is read, and the server checks it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			send := a.whole
			if inLines(args[0]) {
				send = a.lines
			}
			answer, err := send(cmd, args[0])
			if err != nil {
				return err
			}
			return printReceipt(cmd.OutOrStdout(), answer)
		},
	}
	a.updateFlags(cmd)
	cmd.Flags().StringVar(&a.match, "if-match", "", "`ETag` of the policy that the file was made from")
	a.graceFlag(cmd)
	return cmd
}

// whole sends a file in one piece.
func (a *apply) whole(cmd *cobra.Command, path string) (*httpapi.Answer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if _, err := policy.ParseFile(path, data); err != nil {
		return nil, err
	}
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	headers, err := a.headers(cmd.Context(), client, mediaOf(path))
	if err != nil {
		return nil, err
	}
	answer, err := client.Call(cmd.Context(), http.MethodPut, a.path(), headers, data)
	return answer, hintFailure(err)
}

// lines sends a file as it is read. One that is cut off is not sent at all.
func (a *apply) lines(cmd *cobra.Command, path string) (*httpapi.Answer, error) {
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
	client, err := a.patientClient()
	if err != nil {
		return nil, err
	}
	headers, err := a.headers(t.ctx, client, policy.LinesMedia)
	if err != nil {
		return nil, t.explain(err)
	}
	answer, err := client.Upload(t.ctx, a.path(), headers, io.TeeReader(file, t), size)
	return answer, t.explain(hintFailure(err))
}

// checkWhole reads a file in lines for its end, and goes back to its beginning.
func checkWhole(path string, file *os.File) error {
	var tally policy.LineTally
	if _, err := io.Copy(&tally, file); err != nil {
		return err
	}
	if err := tally.Check(path); err != nil {
		return hint(err, "nothing was sent; export the policy anew, or write the end if the file is right")
	}
	_, err := file.Seek(0, io.SeekStart)
	return err
}

func (a *apply) path() string { return "/v1/policy" + a.query() }

// headers are those of the request; the If-Match is asked for unless it was given.
func (a *apply) headers(ctx context.Context, client *httpapi.Client, media string) (http.Header, error) {
	if a.match == "" {
		current, err := client.Call(ctx, http.MethodHead, "/v1/policy", nil, nil)
		if err != nil {
			return nil, hintFailure(err)
		}
		a.match = current.Header.Get("ETag")
	}
	return http.Header{"Content-Type": {media}, "If-Match": {a.match}}, nil
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
			to, err := loadPolicy(cmd, args[0])
			if err != nil {
				return err
			}
			before, err := diffBase(cmd, &c, from)
			if err != nil {
				return err
			}
			changes := policy.Diff(before.AllRoles(), before.AllGrants(), to)
			if err := printChanges(cmd.OutOrStdout(), changes); err != nil {
				return err
			}
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

func diffBase(cmd *cobra.Command, c *connection, from string) (*policy.File, error) {
	if from != "" {
		return loadPolicy(cmd, from)
	}
	t := newTransfer(cmd.Context(), newProgress(cmd.ErrOrStderr(), "reading the server's policy", 0), c.timeout)
	defer t.end()
	answer, err := c.stream(t, "/v1/policy")
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	file, err := policy.ReadLines("server"+policy.LinesSuffix, io.TeeReader(answer, t))
	if err != nil {
		return nil, t.explain(errors.Join(errors.New("the server's policy cannot be read"), err))
	}
	return file, nil
}

func printChanges(out io.Writer, changes []policy.Change) error {
	w := bufio.NewWriter(out)
	for i := range changes {
		fmt.Fprintln(w, &changes[i])
	}
	if len(changes) == 0 {
		fmt.Fprintln(w, "no differences")
	}
	return w.Flush()
}
