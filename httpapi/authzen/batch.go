package authzen

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/question"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// batch reads the body of the evaluations endpoint: questions, and their defaults. It differs
// from [client.Batch] as [question.Evaluation] does from [client.Evaluation].
type batch struct {
	question.Evaluation
	Evaluations []question.Evaluation `json:"evaluations"`
	Options     *batchOptions         `json:"options"`
}

type batchOptions struct {
	Semantic *string         `json:"evaluations_semantic"`
	Others   question.Others `json:",embed"`
}

// semantic says when a batch ends.
type semantic uint8

const (
	executeAll semantic = iota
	denyOnFirstDeny
	permitOnFirstPermit
)

var semantics = map[string]semantic{
	client.ExecuteAll: executeAll, client.DenyOnFirstDeny: denyOnFirstDeny, client.PermitOnFirstPermit: permitOnFirstPermit,
}

// endsWith reports whether an answer ends the batch.
func (s semantic) endsWith(allowed bool) bool {
	return s == denyOnFirstDeny && !allowed || s == permitOnFirstPermit && allowed
}

func (b *batch) semantic() (semantic, error) {
	if b.Options == nil || b.Options.Semantic == nil {
		return executeAll, nil
	}
	s, ok := semantics[*b.Options.Semantic]
	if !ok {
		return 0, question.Unusable("/options/evaluations_semantic", fmt.Sprintf(
			"is %.40q, not execute_all, deny_on_first_deny or permit_on_first_permit", *b.Options.Semantic))
	}
	return s, nil
}

func (b *batch) check() error {
	if err := b.Check("", "evaluations", "options"); err != nil {
		return err
	}
	if b.Options != nil {
		if err := b.Options.Others.Check("/options", "evaluations_semantic"); err != nil {
			return err
		}
	}
	for i := range b.Evaluations {
		if err := b.Evaluations[i].Check(fmt.Sprintf("/evaluations/%d", i)); err != nil {
			return err
		}
	}
	return nil
}

// questions makes a request of each item. An incomplete or malformed item is the zero request.
func (b *batch) questions() []actors.Request {
	questions := make([]actors.Request, len(b.Evaluations))
	for i := range b.Evaluations {
		item := &b.Evaluations[i]
		item.Inherit(&b.Evaluation)
		questions[i], _ = item.Request() // an item with an error is denied
	}
	return questions
}

func (a *API) serveEvaluations(w http.ResponseWriter, r *http.Request) error {
	asked, cancel, err := a.inquire(r)
	if err != nil {
		return err
	}
	defer cancel()
	var b batch
	leave, err := a.readBody(w, r, asked, &b, b.check)
	defer leave()
	if err != nil {
		return err
	}
	if len(b.Evaluations) > a.maxItems {
		return web.NewProblem(http.StatusRequestEntityTooLarge, "too-many-evaluations", "Too many evaluations",
			fmt.Sprintf("A batch has at most %d.", a.maxItems))
	}
	reply, err := asked.batch(&b)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, reply)
}

// batch answers all items or, if there are none, the top level as a single evaluation.
func (q *inquiry) batch(b *batch) (any, error) {
	s, err := b.semantic()
	if err != nil {
		return nil, err
	}
	if len(b.Evaluations) == 0 {
		return q.one(&b.Evaluation)
	}
	questions := b.questions()
	if err := q.authorize(questions); err != nil {
		return nil, err
	}
	decisions, err := q.decideAll(questions, s)
	if err != nil {
		return nil, err
	}
	answers := client.Decisions{Evaluations: make([]client.Decision, len(decisions))}
	for i := range decisions {
		answers.Evaluations[i] = q.answer(&decisions[i])
	}
	return &answers, nil
}

// maxTogether bounds the questions that one turn decides. A turn delays the updates of its
// principal, and a condition can take a millisecond.
const maxTogether = 20

// decideAll decides the questions in parts. It checks the context and the caller's rights again
// before each part but the first, so a client that is gone, or a revocation of the rights, ends
// it.
func (q *inquiry) decideAll(questions []actors.Request, s semantic) ([]policy.Decision, error) {
	decisions := make([]policy.Decision, 0, len(questions))
	decide := q.decideTogether
	if s != executeAll {
		decide = func(part []actors.Request) ([]policy.Decision, error) { return q.decideUntil(part, s) }
	}
	for part := range slices.Chunk(questions, maxTogether) {
		if err := q.ctx.Err(); err != nil {
			return nil, err
		}
		if len(decisions) > 0 {
			if err := q.authorize(part); err != nil {
				return nil, err
			}
		}
		some, err := decide(part)
		if err != nil {
			return nil, err
		}
		decisions = append(decisions, some...)
		if s.endsWith(decisions[len(decisions)-1].Allowed) {
			break
		}
	}
	return decisions, nil
}

// decideUntil decides one question after the other, until an answer ends the batch.
func (q *inquiry) decideUntil(questions []actors.Request, s semantic) (decisions []policy.Decision, err error) {
	for i := range questions {
		d := q.malformed()
		if !questions[i].Principal.IsZero() {
			if d, err = q.decide(q.asCaller(questions[i])); err != nil {
				return nil, err
			}
		}
		decisions = append(decisions, d)
		if s.endsWith(d.Allowed) {
			break
		}
	}
	return decisions, nil
}

// decideTogether decides all questions about one principal in one turn.
func (q *inquiry) decideTogether(questions []actors.Request) ([]policy.Decision, error) {
	decisions := make([]policy.Decision, len(questions))
	sound := make([]actors.Request, 0, len(questions))
	places := make([]int, 0, len(questions))
	for i := range questions {
		if questions[i].Principal.IsZero() {
			decisions[i] = q.malformed()
			continue
		}
		sound = append(sound, q.asCaller(questions[i]))
		places = append(places, i)
	}
	answers, err := q.engine.DecideAll(q.ctx, sound)
	if err != nil {
		return nil, err
	}
	for i := range answers {
		if err := web.Undecided(&answers[i], &sound[i]); err != nil {
			return nil, err
		}
		decisions[places[i]] = answers[i]
	}
	return decisions, nil
}

// malformed is the decision about a malformed item.
func (q *inquiry) malformed() policy.Decision {
	return policy.Denied(policy.ReasonMalformed, policy.Principal{}, q.engine.Revision(), 0)
}
