package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// changesBody is the body of POST /v1/changes.
type changesBody struct {
	Changes []policy.ChangeSpec `json:"changes"`
}

// maxChanges bounds the changes of one update by POST /v1/changes.
const maxChanges = 10_000

// postChanges applies a list of changes, all or none, and answers with the receipt.
func (a *adminAPI) postChanges(w http.ResponseWriter, r *http.Request) error {
	caller, err := a.callers.CallerFrom(r)
	if err != nil {
		return err
	}
	how, err := a.howOf(r)
	if err != nil {
		return err
	}
	var body changesBody
	if err := readJSON(w, r, a.limit, &body, knownMembersOnly); err != nil {
		return err
	}
	changes, err := a.changesOf(body.Changes)
	if err != nil {
		return err
	}
	return a.apply(w, r, caller, changes, how)
}

func (a *adminAPI) changesOf(specs []policy.ChangeSpec) ([]policy.Change, error) {
	if len(specs) == 0 || len(specs) > maxChanges {
		return nil, queryProblem("changes", "has to hold 1 to 10000 changes")
	}
	changes := make([]policy.Change, len(specs))
	for i := range specs {
		c, err := specs[i].Change()
		if err == nil {
			err = a.checkIssuer(c.Certificate)
		}
		if err != nil {
			return nil, policy.At(indexed("changes", i), err)
		}
		changes[i] = c
	}
	return changes, nil
}

// checkIssuer refuses a serial number of an issuer that signs for nobody here: a misspelt
// one would revoke nothing, and be believed to.
func (a *adminAPI) checkIssuer(id policy.CertificateID) error {
	if id.Serial == "" || a.issuers == nil || slices.Contains(a.issuers(), id.Issuer) {
		return nil
	}
	return &policy.FieldError{Field: "issuer", Err: fmt.Errorf("%w: no authority of callers has that key", policy.ErrInvalid)}
}

// forceControl is the value of the query parameter force that permits an update to take
// full rights from its author: see [control.ErrLosesControl].
const forceControl = "full-rights"

// how says in which way a request wants its changes applied.
type how struct {
	wait   time.Duration
	grace  *time.Duration // nil leaves it to the operations
	dry    bool
	force  bool
	match  func(policy.View) error
	repeat *repeat
}

func (a *adminAPI) howOf(r *http.Request) (h how, err error) {
	if err = onlyQuery(r, "wait", "grace", "dry-run", "force"); err != nil {
		return h, err
	}
	if h.wait, err = durationOf(r, "wait", defaultWait, maxWait); err != nil {
		return h, err
	}
	if r.URL.Query().Has("grace") {
		grace, err := durationOf(r, "grace", 0, maxGrace)
		if err != nil {
			return h, err
		}
		h.grace = &grace
	}
	if query := r.URL.Query(); query.Has("dry-run") {
		h.dry = query.Get("dry-run") == "true"
		if !h.dry && query.Get("dry-run") != "false" {
			return h, queryProblem("dry-run", "is neither true nor false")
		}
	}
	if query := r.URL.Query(); query.Has("force") {
		if h.force = query.Get("force") == forceControl; !h.force {
			return h, queryProblem("force", "is not "+forceControl)
		}
	}
	if h.repeat, err = repeatOf(r); err != nil {
		return h, err
	}
	h.match, err = a.ifMatch(r.Header)
	return h, err
}

// apply brings the changes to the engine, with the checks of the control plane as their
// preconditions.
func (a *adminAPI) apply(w http.ResponseWriter, r *http.Request, caller *Caller, changes []policy.Change, h how) error {
	author := control.Author{Principal: caller.Principal, Credential: caller.Credential, Ended: a.engine.Ended, Force: h.force, Connected: a.connected.has}
	before, after := author.Preconditions(changes, time.Now)
	update := actors.Update{
		Changes: changes, Grace: h.grace, After: after, Key: h.repeat.asked(),
		Author: oplog.Author{Principal: caller.Principal, Credential: caller.Credential.Fingerprint()},
		Before: func(tip policy.View) error {
			if err := before(tip); err != nil {
				return err
			}
			if h.match != nil {
				return h.match(tip)
			}
			return nil
		},
	}
	if h.dry {
		return a.preview(w, r, update)
	}
	if h.repeat != nil { // the answer may come from the log alone
		if err := a.checkCredential(r.Context(), caller); err != nil {
			return err
		}
	}
	ctx, cancel := patience(w, r, max(h.wait, minWait))
	defer cancel()
	receipt, err := a.engine.Update(ctx, update)
	return a.answerReceipt(w, receipt, err)
}

// checkCredential refuses a certificate that was revoked, or has ended.
func (a *adminAPI) checkCredential(ctx context.Context, caller *Caller) error {
	req := caller.Request(control.ActionRead, control.ResourceChanges)
	d, err := a.engine.Decide(ctx, req)
	if err != nil {
		return err
	}
	if d.Reason == policy.ReasonCredentialExpired || d.Reason == policy.ReasonCredentialRevoked {
		return &actors.DeniedError{Decision: d, Principal: req.Principal, Action: req.Action, Resource: req.Resource}
	}
	return nil
}

// patience bounds the wait for a receipt, and lets the response be written after it.
func patience(w http.ResponseWriter, r *http.Request, wait time.Duration) (context.Context, context.CancelFunc) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(wait + defaultWait))
	return context.WithTimeout(r.Context(), wait)
}

// answerReceipt answers 200 with a receipt that is quiesced, 202 with one that is not yet.
func (a *adminAPI) answerReceipt(w http.ResponseWriter, receipt actors.Receipt, err error) error {
	status := http.StatusOK
	switch {
	case errors.Is(err, actors.ErrNotQuiesced):
		status = http.StatusAccepted
	case err != nil:
		return err
	}
	w.Header().Set("ETag", a.etag(receipt.Revision))
	return writeJSON(w, status, receiptDocument(&receipt))
}

// getReceipt answers with the receipt of a revision as it is now.
func (a *adminAPI) getReceipt(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.may(r, control.ActionRead, control.ResourceChanges); err != nil {
		return err
	}
	if err := onlyQuery(r, "wait"); err != nil {
		return err
	}
	revision, err := revisionVar(r)
	if err != nil {
		return err
	}
	wait, err := durationOf(r, "wait", 0, maxWait)
	if err != nil {
		return err
	}
	ctx, cancel := patience(w, r, wait)
	defer cancel()
	receipt, err := a.engine.Receipt(ctx, revision)
	return a.answerReceipt(w, receipt, err)
}

func (a *adminAPI) preview(w http.ResponseWriter, r *http.Request, u actors.Update) error {
	p, err := a.engine.Preview(r.Context(), u)
	if err != nil {
		return err
	}
	specs := make([]policy.ChangeSpec, len(u.Changes))
	for i := range u.Changes {
		specs[i] = policy.SpecOfChange(u.Changes[i])
	}
	return writeJSON(w, http.StatusOK, previewDocument{DryRun: true, At: p.At, Changes: specs, WouldEnd: leaseDocuments(p.WouldEnd)})
}
