package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// maxChanges bounds the changes of one update by POST /v1/changes.
const maxChanges = 10_000

// postChanges applies a list of changes, all or none, and answers with the receipt.
func (a *api) postChanges(w http.ResponseWriter, r *http.Request) error {
	caller, err := a.callers.Identify(r)
	if err != nil {
		return err
	}
	if err := a.mayPropose(r.Context(), caller); err != nil {
		return err
	}
	how, err := a.updateOf(r)
	if err != nil {
		return err
	}
	changes, err := a.readChanges(w, r, caller)
	if err != nil {
		return err
	}
	return a.apply(w, r, caller, changes, how)
}

// mayPropose rejects, before its body is read, a request whose caller could change nothing.
func (a *api) mayPropose(ctx context.Context, caller *httpapi.Caller) error {
	var refused error
	err := a.engine.View(ctx, func(v policy.View) { refused = a.author(caller).MayPropose(v, time.Now()) })
	return cmp.Or(err, refused)
}

func (a *api) author(caller *httpapi.Caller) control.Author {
	return control.Author{Principal: caller.Principal, Credential: caller.Credential, Ended: a.engine.Ended, IsCA: a.isCA, Connected: a.connected.has}
}

func (a *api) readChanges(w http.ResponseWriter, r *http.Request, caller *httpapi.Caller) ([]policy.Change, error) {
	leave, err := a.gates.enterLarge(r, caller.Principal)
	if err != nil {
		return nil, err
	}
	defer leave()
	var body client.Changes
	if err := web.ReadJSON(w, r, a.limit, &body, web.KnownMembersOnly); err != nil {
		return nil, err
	}
	return a.changesOf(r.Context(), body.Changes)
}

// changesOf ends with its context, because conditions take long to compile.
func (a *api) changesOf(ctx context.Context, specs []policy.ChangeSpec) ([]policy.Change, error) {
	if len(specs) == 0 || len(specs) > maxChanges {
		return nil, queryProblem("changes", "has to hold 1 to 10000 changes")
	}
	changes := make([]policy.Change, len(specs))
	for i := range specs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, err := specs[i].Change()
		if err == nil {
			err = a.checkIssuer(c.Certificate)
		}
		if err != nil {
			return nil, policy.At("changes["+strconv.Itoa(i)+"]", err)
		}
		changes[i] = c
	}
	return changes, nil
}

// checkIssuer rejects the serial number of an unknown issuer: with a typo in it the change would
// revoke nothing.
func (a *api) checkIssuer(id policy.CertificateID) error {
	if id.Serial == "" || a.issuers == nil || slices.Contains(a.issuers(), id.Issuer) {
		return nil
	}
	return &policy.FieldError{Field: "issuer", Err: fmt.Errorf("%w: not the key of a trust anchor of callers", policy.ErrInvalid)}
}

// Bounds of an update. It has at least minWait until it is applied: a caller that does not wait
// for the receipt still wants the update.
const (
	minWait     = time.Second
	defaultWait = 10 * time.Second
	maxWait     = time.Minute
	maxGrace    = time.Hour
)

// update says how a request wants its changes applied.
type update struct {
	wait           time.Duration
	grace          *time.Duration // nil leaves it to the operations
	dry            bool
	force, forceCA bool
	match          func(policy.View) error // nil without If-Match
	key            *idempotencyKey         // nil without Idempotency-Key
}

func (a *api) updateOf(r *http.Request) (u update, err error) {
	if err = onlyQuery(r, "wait", "grace", "dry-run", "force"); err != nil {
		return u, err
	}
	if u.wait, err = durationOf(r, "wait", defaultWait, maxWait); err != nil {
		return u, err
	}
	if u.grace, err = graceOf(r); err != nil {
		return u, err
	}
	query := r.URL.Query()
	if query.Has("dry-run") {
		u.dry = query.Get("dry-run") == "true"
		if !u.dry && query.Get("dry-run") != "false" {
			return u, queryProblem("dry-run", "is neither true nor false")
		}
	}
	if query.Has("force") {
		for what := range strings.SplitSeq(query.Get("force"), ",") {
			switch what {
			case client.ForceFullRights:
				u.force = true
			case client.ForceCA:
				u.forceCA = true
			default:
				return u, queryProblem("force", "is neither "+client.ForceFullRights+" nor "+client.ForceCA)
			}
		}
	}
	if u.key, err = idempotencyKeyOf(r); err != nil {
		return u, err
	}
	u.match, err = a.ifMatch(r.Header)
	return u, err
}

// apply sends the changes to the engine, with the checks of the control plane as preconditions.
func (a *api) apply(w http.ResponseWriter, r *http.Request, caller *httpapi.Caller, changes []policy.Change, u update) error {
	author := a.author(caller)
	author.Force, author.ForceCA = u.force, u.forceCA
	before, after := author.Preconditions(changes, time.Now)
	proposed := actors.Update{
		Changes: changes, Grace: u.grace, After: after, Key: u.key.repeat(),
		Author: oplog.Author{Principal: caller.Principal, Credential: caller.Fingerprint()},
		Before: func(tip policy.View) error {
			if err := before(tip); err != nil {
				return err
			}
			if u.match != nil {
				return u.match(tip)
			}
			return nil
		},
	}
	if u.dry {
		return a.preview(w, r, proposed)
	}
	if u.key != nil { // the answer may come from the log, without the preconditions
		if err := a.checkCredential(r.Context(), caller); err != nil {
			return err
		}
	}
	leave, err := a.mayQueue(r.Context(), caller, before, u.key != nil)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := patience(w, r, max(u.wait, minWait))
	defer cancel()
	receipt, err := a.engine.Update(ctx, proposed)
	if lost := a.mayPropose(r.Context(), caller); lost != nil { // while it waited, or by this update
		receipt.Ended, receipt.Running, receipt.Waiting, receipt.StillGrantedBy = nil, nil, nil, nil
	}
	return a.answerReceipt(w, r, receipt, err)
}

// mayQueue takes a place for an update in the log. It checks the author's rights first, and the
// log checks them again: an update that is refused costs the others nothing. The answer to a
// request with an idempotency key may come from the log, whatever the rights are now.
func (a *api) mayQueue(ctx context.Context, caller *httpapi.Caller, before func(policy.View) error, repeatable bool) (leave func(), err error) {
	if !repeatable {
		var refused error
		err := a.engine.View(ctx, func(v policy.View) { refused = before(v) })
		if err = cmp.Or(err, refused); err != nil {
			return nil, err
		}
	}
	if err := a.pace.check(caller.Principal); err != nil {
		return nil, err
	}
	return enter(a.gates.updates, caller.Principal)
}

// checkCredential rejects a caller whose credential has expired or was revoked.
func (a *api) checkCredential(ctx context.Context, caller *httpapi.Caller) error {
	req := caller.Request(control.ActionRead, control.ResourceChanges)
	d, err := a.engine.Decide(ctx, req)
	if err != nil {
		return err
	}
	return web.Undecided(&d, &req)
}

// patience bounds the wait for a receipt, and extends the write deadline beyond it.
func patience(w http.ResponseWriter, r *http.Request, wait time.Duration) (context.Context, context.CancelFunc) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(wait + defaultWait))
	return context.WithTimeout(r.Context(), wait)
}

// answerReceipt answers 200 with a receipt that is quiesced, 202 with one that is not yet. It
// leaves out grants that the caller may not read.
func (a *api) answerReceipt(w http.ResponseWriter, r *http.Request, receipt actors.Receipt, err error) error {
	status := http.StatusOK
	switch {
	case errors.Is(err, actors.ErrNotQuiesced):
		status = http.StatusAccepted
	case err != nil:
		return err
	}
	if len(receipt.StillGrantedBy) > 0 && a.authorize(r, control.ActionRead, control.ResourcePolicy) != nil {
		receipt.StillGrantedBy = nil
	}
	w.Header().Set("ETag", a.etag(receipt.Revision))
	return web.WriteJSON(w, status, receipt)
}

// getReceipt answers with the current receipt of a revision.
func (a *api) getReceipt(w http.ResponseWriter, r *http.Request) error {
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
	return a.answerReceipt(w, r, receipt, err)
}

// preview answers a dry run.
func (a *api) preview(w http.ResponseWriter, r *http.Request, u actors.Update) error {
	p, err := a.engine.Preview(r.Context(), u)
	if err != nil {
		return err
	}
	specs := make([]policy.ChangeSpec, len(u.Changes))
	for i := range u.Changes {
		specs[i] = policy.SpecOfChange(u.Changes[i])
	}
	return web.WriteJSON(w, http.StatusOK, &client.Preview{DryRun: true, At: p.At, Changes: specs, WouldEnd: leaseDocuments(p.WouldEnd)})
}
