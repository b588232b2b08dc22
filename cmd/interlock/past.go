package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/policy"
)

// moment is a revision, and a time, of the past.
type moment struct {
	admin string
	at    int64
	time  string
}

func (m *moment) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Int64Var(&m.at, "at", -1, "ask what the policy said at this `revision`, and until when")
	f.StringVar(&m.time, "time", "", "with --at, the `instant` at which to ask (RFC 3339), for what expires; default now")
	f.StringVar(&m.admin, "admin", "https://localhost:8444", "with --at, `URL` of the listener for administrators")
}

// past reports whether the past is asked for.
func (m *moment) past(cmd *cobra.Command) bool { return cmd.Flags().Changed("at") }

// explained is what the server says of the past.
type explained struct {
	Decision    bool      `json:"decision"`
	Explanation string    `json:"explanation"`
	At          uint64    `json:"at"`
	Until       *logEntry `json:"until"`
	Searched    uint64    `json:"searched"`
}

// explainPast asks what the policy said at a revision.
func (q *question) explainPast(ctx context.Context, out io.Writer, asked *policy.Query) error {
	if q.at < 0 {
		return errors.New("--at is a revision, 0 or above")
	}
	body := map[string]any{
		"principal": asked.Principal.String(), "action": asked.Action, "resource": asked.Resource, "at": q.at,
	}
	if asked.Properties.Resource != nil {
		body["properties"] = asked.Properties.Resource
	}
	if q.time != "" {
		when, err := time.Parse(time.RFC3339, q.time)
		if err != nil {
			return fmt.Errorf("--time %q is no instant such as 2027-01-01T00:00:00Z", q.time)
		}
		body["time"] = when
	}
	c := q.connection
	c.url = q.admin
	client, err := c.client()
	if err != nil {
		return err
	}
	answer, err := client.Call(ctx, http.MethodPost, "/v1/explain", nil, body)
	if err != nil {
		return hintFailure(err)
	}
	var e explained
	if err := json.Unmarshal(answer.Body, &e); err != nil {
		return err
	}
	return say(out, e.Decision, e.String())
}

// String says what was decided, until which revision, and who ended it why.
func (e *explained) String() string {
	text := fmt.Sprintf("%s; at revision %d", e.Explanation, e.At)
	if e.Until == nil {
		return text + ", and since"
	}
	verb := "taken away"
	if !e.Decision {
		verb = "allowed"
	}
	text += fmt.Sprintf("\n%s until revision %d; %s in %d, %s, by %s:", verdict(e.Decision), e.Until.Previous, verb,
		e.Until.Revision, e.Until.Time.UTC().Format(time.RFC3339), e.Until.by())
	for i := range e.Until.Changes {
		text += "\n  " + describe(&e.Until.Changes[i])
	}
	return text
}
