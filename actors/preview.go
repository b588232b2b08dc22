package actors

import (
	"context"
	"slices"
	"sync"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Preview is the result that an update would have.
type Preview struct {
	// At is the revision that the preview is based on.
	At uint64
	// WouldEnd lists the operations in flight that would lose their authority.
	WouldEnd []LeaseInfo
}

// Preview checks an update and its preconditions as [Engine.Update] does, and lists the
// operations that it would end. It changes nothing. Errors are those of Update for an update
// that was not applied.
func (e *Engine) Preview(ctx context.Context, u Update) (Preview, error) {
	if err := e.admissible(ctx); err != nil {
		return Preview{}, err
	}
	var (
		at      uint64
		d       *policy.Draft
		refused error
	)
	p := u.proposal(oplog.ProposalID{})
	err := e.journal.View(func(tip policy.View) {
		at = tip.Revision()
		d, refused = p.Draft(tip)
	})
	if err != nil {
		return Preview{}, err
	}
	if err := e.delivery.reach(ctx, e, at); err != nil {
		return Preview{}, err
	}
	if refused != nil {
		return Preview{At: at}, refused
	}
	would := &hypothesis{
		records: d.Records,
		table:   e.Table().Next(d.Revision(), d.RolesPut, d.PatternEdits),
		revoked: e.shared.revoked.Load().supposing(d.Certificates(true)),
	}
	ended, err := e.ask(ctx, e.directory.each, would.ends)
	return Preview{At: at, WouldEnd: ended}, err
}

// hypothesis is the state of the policy that an update would lead to.
type hypothesis struct {
	records map[policy.Principal]*policy.Record
	table   *policy.Table
	revoked *revocations
}

// ends lists the leases of a principal that would not be allowed. It runs in the principal's
// turn.
func (y *hypothesis) ends(p *principal, at moment) (ended []LeaseInfo) {
	h := p.snapshot()
	if r := y.records[h.who]; r != nil {
		h.record = r
	}
	at.revoked = y.revoked
	held := y.table.Hold(h.who, h.record, at.now)
	form := y.table.Compile(held)
	for l := p.leases.Load(); l != nil; l = l.older.Load() {
		if l.revokedAt.Load() == 0 && !h.allows(&at, l, y.table, form, held.Any) {
			ended = append(ended, l.info())
		}
	}
	return ended
}

// ask collects the results of look for the principals with leases, each in its own turn.
func (e *Engine) ask(ctx context.Context, each func(func(*principal)), look func(*principal, moment) []LeaseInfo) ([]LeaseInfo, error) {
	var (
		mu    sync.Mutex
		all   []LeaseInfo
		asked sync.WaitGroup
	)
	each(func(p *principal) {
		if p.leases.Load() == nil {
			return
		}
		asked.Add(1)
		p.tell(&node{message: &inspect{done: asked.Done, look: func(p *principal, at moment) {
			found := look(p, at)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, found...)
		}}})
	})
	done := make(chan struct{})
	go func() { asked.Wait(); close(done) }()
	select {
	case <-done:
		return all, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Leases returns the operations in flight of one principal, or of all if who is zero. It asks
// each principal in its own turn, so the result is not one instant. It leaves out the operation
// that ctx belongs to, if any. Errors are [ErrNested] and that of ctx.
func (e *Engine) Leases(ctx context.Context, who policy.Principal) ([]LeaseInfo, error) {
	if e.nested(ctx) {
		return nil, ErrNested
	}
	each := e.directory.each
	if !who.IsZero() {
		each = func(visit func(*principal)) {
			if p := e.directory.get(who); p != nil {
				visit(p)
			}
		}
	}
	own := ownLeases(ctx)
	return e.ask(ctx, each, func(p *principal, _ moment) (infos []LeaseInfo) {
		for l := p.leases.Load(); l != nil; l = l.older.Load() {
			if !slices.Contains(own, l) {
				infos = append(infos, l.info())
			}
		}
		return infos
	})
}
