package admin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// apply is the command policy apply.
type apply struct {
	change
	match string
}

func applyCommand() *cobra.Command {
	a := &apply{}
	cmd := &cobra.Command{
		Use: "apply FILE", Short: "Replace the policy of the server", Args: cli.Needs("FILE"),
		Long: `Replace the roles and grants of the server by those of the file, as one revision. With
--if-match the command fails if the policy has changed since the file was made from it.
Without --if-match it fails if the policy changes while the command runs. A file in lines
(.ndjson) is streamed, and the server checks it.`,
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
	cmd.Flags().StringVar(&a.match, "if-match", "", "`ETag` of the policy from which the file was made")
	a.graceFlag(cmd)
	return cmd
}

// whole checks a file and sends it.
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

// put sends a policy. Without --if-match it requires that the policy of the server does not change meanwhile.
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

// lines sends a file in lines as a stream. It sends nothing of a file that is incomplete.
func (a *apply) lines(cmd *cobra.Command, path string) (*client.Result, error) {
	file, size, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	shown := newProgress(cmd.ErrOrStderr(), "apply", size)
	shown.then = "waiting for the server"
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

// checkWhole returns an error for a file in lines that is incomplete. It leaves the file at its beginning.
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
