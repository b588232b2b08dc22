package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
)

// logOptions are those of interlock log.
type logOptions struct {
	connection
	after  string
	last   int
	follow bool
	asJSON bool
}

func logCommand() *cobra.Command {
	o := &logOptions{}
	cmd := &cobra.Command{
		Use: "log", Short: "Show who changed the policy, when and why", Args: cobra.NoArgs,
		Long: `Show the changes of the policy: revision, time, who made it with which certificate, and
why. Without --after it shows the last ones.`,
		Example: "  interlock log --last 5\n  interlock log --after 41 --follow",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	o.adminFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.after, "after", "", "show all changes after this `revision`")
	f.IntVar(&o.last, "last", 20, "show so many of the last changes")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with those to come")
	f.BoolVar(&o.asJSON, "json", false, "one JSON object a line")
	cmd.MarkFlagsMutuallyExclusive("after", "last")
	cmd.AddCommand(logVerifyCommand())
	return cmd
}

// logEntry is an entry of the log as the server shows it.
type logEntry struct {
	Revision    uint64              `json:"revision"`
	Previous    uint64              `json:"previous"`
	Time        time.Time           `json:"time"`
	Author      string              `json:"author"`
	Certificate string              `json:"certificate"`
	Changes     []policy.ChangeSpec `json:"changes"`
	Count       int                 `json:"count"`
	Hash        string              `json:"hash"`
}

func (o *logOptions) run(ctx context.Context, out io.Writer) error {
	client, err := o.client()
	if err != nil {
		return err
	}
	if o.last < 0 || o.last > 1000 {
		return errors.New("--last is a number from 0 to 1000")
	}
	query := "?limit=1000&last=" + strconv.Itoa(o.last)
	if o.after != "" {
		query = "?limit=1000&after=" + o.after
	}
	for {
		var page struct {
			Changes  []jsontext.Value `json:"changes"`
			Revision uint64           `json:"revision"`
		}
		answer, err := client.Call(ctx, http.MethodGet, "/v1/changes"+query, nil, nil)
		if err != nil {
			return hintFailure(err)
		}
		if err := json.Unmarshal(answer.Body, &page); err != nil {
			return err
		}
		last := page.Revision
		for _, text := range page.Changes {
			if last, err = o.print(out, text); err != nil {
				return err
			}
		}
		if len(page.Changes) == 0 || last >= page.Revision {
			if o.follow {
				return o.live(ctx, client, out, last)
			}
			return nil
		}
		query = "?limit=1000&after=" + strconv.FormatUint(last, 10)
	}
}

// live prints what comes, until ctx is done or the server ends the stream.
func (o *logOptions) live(ctx context.Context, client *httpapi.Client, out io.Writer, after uint64) error {
	client.HTTP.Timeout = 0 // it lasts
	answer, err := client.Stream(ctx, "/v1/changes?after="+strconv.FormatUint(after, 10), http.Header{"Accept": {"text/event-stream"}})
	if err != nil {
		return hintFailure(err)
	}
	defer answer.Body.Close()
	event := ""
	lines := bufio.NewReader(answer.Body)
	for {
		line, err := lines.ReadString('\n')
		if ctx.Err() != nil {
			return nil // it was asked to end
		}
		if err != nil {
			return hint(fmt.Errorf("the stream broke off: %w", err), "interlock log --follow --after REVISION goes on after the last one shown")
		}
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ": ")
		switch {
		case name == "event":
			event = value
		case name == "data" && event == "change":
			if _, err := o.print(out, jsontext.Value(value)); err != nil {
				return err
			}
		case name == "data" && event == "end":
			return fmt.Errorf("the server ended the stream: %s", value)
		}
	}
}

func (o *logOptions) print(out io.Writer, text jsontext.Value) (uint64, error) {
	var e logEntry
	if err := json.Unmarshal(text, &e); err != nil {
		return 0, err
	}
	if o.asJSON {
		_, err := fmt.Fprintf(out, "%s\n", text)
		return e.Revision, err
	}
	_, err := io.WriteString(out, e.String())
	return e.Revision, err
}

// String shows an entry: a line for all of it, and one for each change.
func (e *logEntry) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "revision %d  %s  by %s\n", e.Revision, e.Time.UTC().Format(time.RFC3339), e.by())
	for i := range e.Changes {
		fmt.Fprintf(&b, "  %s\n", describe(&e.Changes[i]))
	}
	if more := e.Count - len(e.Changes); more > 0 {
		fmt.Fprintf(&b, "  and %d more changes\n", more)
	}
	return b.String()
}

// by names the author, with the beginning of the certificate's fingerprint.
func (e *logEntry) by() string {
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

func logVerifyCommand() *cobra.Command {
	var c connection
	var expect string
	cmd := &cobra.Command{
		Use: "verify", Short: "Walk the chain of the log and compare the store with it", Args: cobra.NoArgs,
		Long: `Walk the chain of hashes of the log, and compare the whole store with what the log says
that it has to hold. The last line, written down elsewhere, tells later with --expect that
nothing up to there was rewritten. Exit status 1 means that it is not as it was.`,
		Example: "  interlock log verify --expect 42:9f86…",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			client.HTTP.Timeout = 0 // a large store takes its time
			return verifyLog(cmd.Context(), client, cmd.OutOrStdout(), expect)
		},
	}
	c.adminFlags(cmd)
	cmd.Flags().StringVar(&expect, "expect", "", "`revision:hash` that was written down earlier")
	return cmd
}

// verification is what the server says of its store.
type verification struct {
	Identity   string `json:"identity"`
	Revision   uint64 `json:"revision"`
	Hash       string `json:"hash"`
	Oldest     uint64 `json:"oldest"`
	Entries    int    `json:"entries"`
	Principals int    `json:"principals"`
	Damage     string `json:"damage"`
}

func (v *verification) String() string {
	return fmt.Sprintf("store %s: %d entries of the log, from revision %d on, and %d principals are as they were written\nhead %d:%s",
		v.Identity, v.Entries, v.Oldest, v.Principals, v.Revision, v.Hash)
}

func verifyLog(ctx context.Context, client *httpapi.Client, out io.Writer, expect string) error {
	if expect != "" {
		if err := expected(ctx, client, out, expect); err != nil {
			return err
		}
	}
	answer, err := client.Call(ctx, http.MethodPost, "/v1/store/verify", nil, nil)
	if err != nil {
		return hintFailure(err)
	}
	var v verification
	if err := json.Unmarshal(answer.Body, &v); err != nil {
		return err
	}
	if v.Damage != "" {
		return say(out, false, "not as it was written: "+v.Damage)
	}
	_, err = fmt.Fprintln(out, &v)
	return err
}

// expected compares an entry with what was written down of it.
func expected(ctx context.Context, client *httpapi.Client, out io.Writer, expect string) error {
	digits, sum, ok := strings.Cut(expect, ":")
	revision, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || revision == 0 {
		return fmt.Errorf("--expect %q is not of the form revision:hash", expect)
	}
	answer, err := client.Call(ctx, http.MethodGet, fmt.Sprintf("/v1/changes?limit=1&after=%d", revision-1), nil, nil)
	if err != nil {
		return hintFailure(err)
	}
	var page struct {
		Changes []logEntry `json:"changes"`
	}
	if err := json.Unmarshal(answer.Body, &page); err != nil {
		return err
	}
	if len(page.Changes) == 0 || page.Changes[0].Revision != revision {
		return say(out, false, fmt.Sprintf("the log has no revision %d", revision))
	}
	if got := page.Changes[0].Hash; got != sum {
		return say(out, false, fmt.Sprintf("revision %d has the hash %s, and not the one that was written down", revision, got))
	}
	return nil
}
