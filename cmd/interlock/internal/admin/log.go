package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// logOptions are the flags of interlock log.
type logOptions struct {
	connection
	cli.Output
	after  string
	last   int
	follow bool
}

func logCommand() *cobra.Command {
	o := &logOptions{}
	cmd := &cobra.Command{
		Use: "log", Short: "Show who changed the policy, when and why", Args: cobra.NoArgs,
		Long: `Show the updates of the policy: revision, time, author, certificate, changes and reason.
Without --after the command shows the last updates.`,
		Example: "  interlock log --last 5\n  interlock log --after 41 --follow",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	o.adminFlags(cmd)
	o.AddFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&o.after, "after", "", "show all updates after this `revision`")
	f.IntVar(&o.last, "last", 20, "`number` of last updates to show")
	f.BoolVarP(&o.follow, "follow", "f", false, "continue with new updates")
	cmd.MarkFlagsMutuallyExclusive("after", "last")
	cmd.AddCommand(logVerifyCommand(&o.Output))
	return cmd
}

func (o *logOptions) run(ctx context.Context, out io.Writer) error {
	if o.last < 0 || o.last > 1000 {
		return errors.New("--last must be a number from 0 to 1000")
	}
	page := client.PageOptions{Limit: 1000, Last: &o.last}
	if o.after != "" {
		after, err := strconv.ParseUint(o.after, 10, 64)
		if err != nil {
			return fmt.Errorf("--after %q is not a revision", o.after)
		}
		page.After, page.Last = after, nil
	}
	admin, err := o.client()
	if err != nil {
		return err
	}
	for {
		got, err := admin.Changes(ctx, page)
		if err != nil {
			return hintFailure(err)
		}
		last := got.Revision
		for i := range got.Changes {
			last = got.Changes[i].Revision
			if err := o.print(out, &got.Changes[i]); err != nil {
				return err
			}
		}
		if len(got.Changes) == 0 || last >= got.Revision {
			if o.follow {
				return o.live(ctx, admin, out, last)
			}
			return nil
		}
		page.After, page.Last = last, nil
	}
}

// live prints new changes until ctx is done or the server ends the stream.
func (o *logOptions) live(ctx context.Context, admin *client.Client, out io.Writer, after uint64) error {
	for entry, err := range admin.Follow(ctx, after) {
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, client.ErrStreamBroken):
			return cli.Hint(err, "interlock log --follow --after REVISION continues after the last one shown")
		case err != nil:
			return hintFailure(err)
		}
		if err := o.print(out, entry); err != nil {
			return err
		}
	}
	return nil
}

func (o *logOptions) print(out io.Writer, e *client.Entry) error {
	return o.Write(out, e, func(w io.Writer) error {
		_, err := io.WriteString(w, sayEntry(e))
		return err
	})
}

// sayEntry shows an entry: a line for the update, and one for each change.
func sayEntry(e *client.Entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "revision %d  %s  by %s\n", e.Revision, e.Time.UTC().Format(time.RFC3339), authorOf(e))
	for i := range e.Changes {
		fmt.Fprintf(&b, "  %s\n", describe(&e.Changes[i]))
	}
	if more := e.Count - len(e.Changes); more > 0 {
		fmt.Fprintf(&b, "  and %d more changes\n", more)
	}
	return b.String()
}

// authorOf names the author, with the beginning of the certificate's fingerprint.
func authorOf(e *client.Entry) string {
	switch {
	case e.Author == "":
		return "the server itself"
	case len(e.Certificate) >= 16:
		return e.Author + " (certificate " + e.Certificate[:16] + "…)"
	}
	return e.Author
}

// describe shows a change on one line.
func describe(spec *policy.ChangeSpec) string {
	text := string(spec.Op)
	if c, err := spec.Change(); err == nil {
		text = c.String()
	}
	if spec.Expires != "" {
		text += " until " + spec.Expires
	}
	if spec.Reason != "" {
		text += fmt.Sprintf(" because %q", spec.Reason)
	}
	return text
}

func logVerifyCommand(o *cli.Output) *cobra.Command {
	var c connection
	var expect string
	cmd := &cobra.Command{
		Use: "verify", Short: "Check the chain of the log and compare the store with it", Args: cobra.NoArgs,
		Long: `Check the chain of hashes of the log, and compare the whole store with the log. The last
line is the revision and the hash of the newest entry. Keep it outside the server: with
--expect a later run checks that no entry up to it was rewritten. Exit status 1 means that
the log or the store was altered or damaged.`,
		Example: "  interlock log verify --expect 42:9f86…",
		RunE: func(cmd *cobra.Command, _ []string) error {
			admin, err := c.client()
			if err != nil {
				return err
			}
			return verifyLog(cmd.Context(), admin, cmd.OutOrStdout(), o, expect)
		},
	}
	c.adminFlags(cmd)
	cmd.Flags().StringVar(&expect, "expect", "", "`revision:hash` that an earlier run printed")
	return cmd
}

func sayVerified(v *client.Verification) string {
	return fmt.Sprintf("store %s: %d log entries from revision %d on and %d principals verified\nhead %d:%s",
		v.StoreID, v.Entries, v.Oldest, v.Principals, v.Revision, v.Hash)
}

func verifyLog(ctx context.Context, admin *client.Client, out io.Writer, o *cli.Output, expect string) error {
	if expect != "" {
		mismatch, err := compareHash(ctx, admin, expect)
		if err != nil {
			return err
		}
		if mismatch != "" {
			return o.Answer(out, false, &client.Verification{Damage: mismatch}, mismatch)
		}
	}
	v, err := admin.Verify(ctx)
	if err != nil {
		return hintFailure(err)
	}
	if v.Damage != "" {
		return o.Answer(out, false, v, "damaged: "+v.Damage)
	}
	return o.Answer(out, true, v, sayVerified(v))
}

// compareHash compares an entry of the log with expect, a text of the form revision:hash. It returns how they differ,
// empty if they do not.
func compareHash(ctx context.Context, admin *client.Client, expect string) (mismatch string, err error) {
	digits, sum, ok := strings.Cut(expect, ":")
	revision, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || revision == 0 {
		return "", fmt.Errorf("--expect %q is not of the form revision:hash", expect)
	}
	page, err := admin.Changes(ctx, client.PageOptions{Limit: 1, After: revision - 1})
	if err != nil {
		return "", hintFailure(err)
	}
	if len(page.Changes) == 0 || page.Changes[0].Revision != revision {
		return fmt.Sprintf("the log has no revision %d", revision), nil
	}
	if got := page.Changes[0].Hash; got != sum {
		return fmt.Sprintf("revision %d has the hash %s, not the expected one", revision, got), nil
	}
	return "", nil
}
