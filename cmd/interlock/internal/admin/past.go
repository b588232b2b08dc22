package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// moment is a revision, and a time, of the past.
type moment struct {
	at   int64
	time string
}

func (m *moment) momentFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Int64Var(&m.at, "at", -1, "ask what the policy said at this `revision`, and until when")
	f.StringVar(&m.time, "time", "", "with --at, the `instant` at which to ask (RFC 3339), for what expires; default now")
	f.String(adminFlag, defaultAdmin, "with --at, `URL` of the listener for administrators")
}

// past reports whether the past is asked for.
func (m *moment) past(cmd *cobra.Command) bool { return cmd.Flags().Changed("at") }

// explainPast asks what the policy said at a revision.
func (q *question) explainPast(ctx context.Context, out io.Writer, asked *policy.Query) error {
	if q.at < 0 {
		return errors.New("--at is a revision, 0 or above")
	}
	at := uint64(q.at)
	request := client.ExplainRequest{
		Principal: asked.Principal.String(), Action: asked.Action, Resource: asked.Resource, Properties: asked.Properties.Resource, At: &at,
	}
	if q.time != "" {
		var err error
		if request.Time, err = time.Parse(time.RFC3339, q.time); err != nil {
			return fmt.Errorf("--time %q is no instant such as 2027-01-01T00:00:00Z", q.time)
		}
	}
	admin, err := q.toAdmin().client()
	if err != nil {
		return err
	}
	e, err := admin.Explain(ctx, request)
	if err != nil {
		return hintFailure(err)
	}
	return q.Answer(out, e.Decision, e, sayExplanation(e))
}

// sayExplanation says what was decided, until which revision, and which update ended it.
func sayExplanation(e *client.Explanation) string {
	text := fmt.Sprintf("%s; at revision %d", e.Explanation, e.At)
	if e.Until == nil {
		return text + ", and since"
	}
	verb := "taken away"
	if !e.Decision {
		verb = "allowed"
	}
	text += fmt.Sprintf("\n%s until revision %d; %s in %d, %s, by %s:", verdict(e.Decision), e.Until.Previous, verb,
		e.Until.Revision, e.Until.Time.UTC().Format(time.RFC3339), authorOf(e.Until))
	for i := range e.Until.Changes {
		text += "\n  " + describe(&e.Until.Changes[i])
	}
	return text
}
