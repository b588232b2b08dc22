package client

import (
	"context"
	"net/http"
	"net/url"
)

// The paths of the decision API.
const (
	EvaluationPath  = "/access/v1/evaluation"
	EvaluationsPath = "/access/v1/evaluations"
	MetadataPath    = "/.well-known/authzen-configuration"
)

// Values of [BatchOptions.Semantic].
const (
	ExecuteAll          = "execute_all"
	DenyOnFirstDeny     = "deny_on_first_deny"
	PermitOnFirstPermit = "permit_on_first_permit"
)

// Entity is the subject or the resource of an AuthZEN evaluation.
type Entity struct {
	// Type is "principal" for a subject whose ID is a whole principal.
	Type       string         `json:"type,omitzero"`
	ID         string         `json:"id,omitzero"`
	Properties map[string]any `json:"properties,omitzero"`
}

// Action is the action of an AuthZEN evaluation.
type Action struct {
	Name       string         `json:"name,omitzero"`
	Properties map[string]any `json:"properties,omitzero"`
}

// Evaluation is one question of the AuthZEN Authorization API 1.0.
type Evaluation struct {
	Subject  Entity         `json:"subject,omitzero"`
	Action   Action         `json:"action,omitzero"`
	Resource Entity         `json:"resource,omitzero"`
	Context  map[string]any `json:"context,omitzero"`
}

// Batch is several questions. An item takes what it leaves out from the embedded Evaluation.
type Batch struct {
	Evaluation
	Evaluations []Evaluation  `json:"evaluations"`
	Options     *BatchOptions `json:"options,omitzero"`
}

// BatchOptions say when a batch ends.
type BatchOptions struct {
	// Semantic is [ExecuteAll] if empty.
	Semantic string `json:"evaluations_semantic,omitzero"`
}

// Decision is the answer to one question.
type Decision struct {
	Decision bool `json:"decision"`
	// Context is nil unless an explanation was requested.
	Context *DecisionContext `json:"context,omitzero"`
}

// DecisionContext says how a decision was made.
type DecisionContext struct {
	Reason     string `json:"reason"`
	Role       string `json:"role,omitzero"`
	Permission string `json:"permission,omitzero"`
	Revision   uint64 `json:"revision"`
}

// Decisions are the answers to a batch, in the order of its questions.
type Decisions struct {
	Evaluations []Decision `json:"evaluations"`
}

// Metadata is the configuration document of a decision point.
type Metadata struct {
	DecisionPoint string `json:"policy_decision_point"`
	Evaluation    string `json:"access_evaluation_endpoint"`
	Evaluations   string `json:"access_evaluations_endpoint"`
}

// EvaluateOptions of [Client.Evaluate] and [Client.Evaluations].
type EvaluateOptions struct {
	// Explain requests the context of each decision. The caller needs interlock:read on policy.
	Explain bool
}

func (o EvaluateOptions) query() url.Values {
	if !o.Explain {
		return nil
	}
	return url.Values{"explain": {"true"}}
}

// Evaluate asks one question. A denial is a [Decision], not an error. The answer can be stale
// when it arrives: nothing holds it until an operation starts.
func (c *Client) Evaluate(ctx context.Context, e Evaluation, o EvaluateOptions) (*Decision, error) {
	var d Decision
	if _, err := c.short(ctx, call{method: http.MethodPost, path: EvaluationPath, query: o.query(), body: &e}, &d); err != nil {
		return nil, err
	}
	return &d, nil
}

// Evaluations asks several questions and returns their answers in order. There are fewer
// answers than questions if the batch ended early. The batch needs at least one item: without
// one the server reads it as a single question.
func (c *Client) Evaluations(ctx context.Context, b Batch, o EvaluateOptions) ([]Decision, error) {
	var d Decisions
	if _, err := c.short(ctx, call{method: http.MethodPost, path: EvaluationsPath, query: o.query(), body: &b}, &d); err != nil {
		return nil, err
	}
	return d.Evaluations, nil
}

// Metadata reads the configuration document. It needs no client certificate.
func (c *Client) Metadata(ctx context.Context) (*Metadata, error) {
	var m Metadata
	if _, err := c.short(ctx, call{method: http.MethodGet, path: MetadataPath}, &m); err != nil {
		return nil, err
	}
	return &m, nil
}
