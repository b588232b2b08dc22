package admin

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

func policyCommand() *cobra.Command {
	return cli.Group(&cobra.Command{Use: "policy", Short: "Check, read and replace the whole policy"},
		validateCommand(), exportCommand(), applyCommand(), diffCommand())
}

// validFile describes a policy file without errors.
type validFile struct {
	File   string `json:"file"`
	Roles  int    `json:"roles"`
	Grants int    `json:"grants"`
}

func validateCommand() *cobra.Command {
	var o cli.Output
	cmd := &cobra.Command{
		Use: "validate FILE", Short: "Check a policy file; needs no server", Args: cli.Needs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := loadPolicy(cmd, args[0])
			if err != nil {
				return err
			}
			valid := validFile{File: args[0], Roles: len(file.Roles), Grants: len(file.Grants)}
			return o.Answer(cmd.OutOrStdout(), true, &valid,
				fmt.Sprintf("%s is good: %d roles, %d grants", valid.File, valid.Roles, valid.Grants))
		},
	}
	o.AddFlag(cmd)
	return cmd
}

// loadPolicy reads a policy file. It reads a file in lines as a stream, because such a file may be large.
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

// serverPolicy reads the policy of a server as a stream. It fails if the stream makes no progress for the time idle.
type serverPolicy struct {
	cmd   *cobra.Command
	admin *client.Client
	idle  time.Duration
}

// current reads the policy as it is now.
func (p *serverPolicy) current() (*policyfile.File, error) {
	return p.read(client.PolicyOptions{}, func(string) bool { return true })
}

// at reads the policy as it is at a revision. It asks for a past revision only if the policy has changed since then, so
// it works with a server that keeps no past policies.
func (p *serverPolicy) at(revision uint64) (*policyfile.File, error) {
	end := fmt.Sprintf(`.%d"`, revision) // an ETag is the store ID and the revision
	file, err := p.read(client.PolicyOptions{}, func(etag string) bool { return strings.HasSuffix(etag, end) })
	if file != nil || err != nil {
		return file, err
	}
	file, err = p.read(client.PolicyOptions{At: &revision}, func(string) bool { return true })
	if client.IsProblem(err, "no-history") || client.IsProblem(err, "compacted") {
		return nil, cli.Hint(fmt.Errorf("the policy has changed since revision %d, and the server does not keep that revision", revision),
			"run the command again")
	}
	return file, err
}

// read returns nil if accept rejects the ETag.
func (p *serverPolicy) read(o client.PolicyOptions, accept func(etag string) bool) (*policyfile.File, error) {
	t := newTransfer(p.cmd.Context(), newProgress(p.cmd.ErrOrStderr(), "reading the server's policy", 0), p.idle)
	defer t.end()
	body, etag, err := p.admin.OpenPolicy(t.ctx, client.MediaLines, o)
	if err != nil {
		return nil, t.explain(err)
	}
	defer body.Close()
	if !accept(etag) {
		return nil, nil
	}
	file, err := policyfile.ReadLines("server"+policyfile.LinesSuffix, io.TeeReader(body, t))
	if err != nil {
		return nil, t.explain(fmt.Errorf("read the server's policy: %w", err))
	}
	return file, nil
}
