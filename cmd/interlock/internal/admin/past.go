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

// moment is a past revision, and the time at which to decide.
type moment struct {
	at   int64
	time string
}

func (m *moment) momentFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Int64Var(&m.at, "at", -1, "explain the decision at this past `revision`, and until when it was the same")
	f.StringVar(&m.time, "time", "", "with --at, the `time` of the decision (RFC 3339), for grants that expire (default now)")
	f.String(adminFlag, defaultAdmin, "with --at, `URL` of the listener for administrators")
}

// past reports whether the command line has a past revision.
func (m *moment) past(cmd *cobra.Command) bool { return cmd.Flags().Changed("at") }

// explainPast asks the server for a past decision.
func (q *question) explainPast(ctx context.Context, out io.Writer, asked *policy.Query) error {
	if q.at < 0 {
		return errors.New("--at must be a revision, 0 or higher")
	}
	at := uint64(q.at)
	request := client.ExplainRequest{
		Principal: asked.Principal.String(), Action: asked.Action, Resource: asked.Resource, Properties: asked.Properties.Resource, At: &at,
	}
	if q.time != "" {
		var err error
		if request.Time, err = time.Parse(time.RFC3339, q.time); err != nil {
			return fmt.Errorf("--time %q is not a time such as 2027-01-01T00:00:00Z", q.time)
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

// sayExplanation returns the decision, the last revision at which it was the same, and the update that changed it.
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
