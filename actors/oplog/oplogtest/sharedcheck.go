package oplogtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// TestShared checks an implementation of [oplog.SharedLog]. newLog returns a function that
// joins one more engine to a new empty log. The error names each check that failed and why.
func TestShared(newLog func() (join func(name string) (oplog.SharedLog, error))) error {
	var errs []error
	for _, check := range []struct {
		name string
		run  func(a, b *probe) error
	}{
		{"deliveries to every engine", checkDelivered},
		{"preconditions of two engines", checkConflict},
		{"confirmations", checkConfirmed},
		{"an engine that leaves", checkLeaving},
	} {
		if err := withTwo(newLog(), check.run); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", check.name, err))
		}
	}
	if err := checkJoining(newLog()); err != nil {
		errs = append(errs, fmt.Errorf("an engine that joins: %w", err))
	}
	return errors.Join(errs...)
}

func joinProbe(join func(string) (oplog.SharedLog, error), name string) (*probe, error) {
	log, err := join(name)
	if err != nil {
		return nil, err
	}
	return openProbe(log, nil)
}

func withTwo(join func(string) (oplog.SharedLog, error), run func(a, b *probe) error) error {
	a, err := joinProbe(join, "a")
	if err != nil {
		return err
	}
	b, err := joinProbe(join, "b")
	if err != nil {
		return err
	}
	return errors.Join(run(a, b), a.close(), b.close())
}

// checkJoining checks that an engine which has opened the log has confirmed nothing, also no
// revision from before.
func checkJoining(join func(string) (oplog.SharedLog, error)) error {
	a, err := joinProbe(join, "a")
	if err != nil {
		return err
	}
	o, err := a.apply(policy.PutRole(role("a"), ""))
	if err != nil {
		return err
	}
	b, err := joinProbe(join, "b")
	if err != nil {
		return err
	}
	defer func() { _ = errors.Join(a.close(), b.close()) }()
	if missing, err := a.confirmed(o.Revision); err == nil || !slices.Equal(missing, []string{"b"}) {
		return fmt.Errorf("Await returned %v, %v before an engine that has joined confirmed anything", missing, err)
	}
	b.shared().Confirm(o.Revision, nil)
	_, err = a.confirmed(o.Revision)
	return err
}

func (p *probe) shared() oplog.SharedLog { return p.log.(oplog.SharedLog) }

// reach waits until a revision is delivered.
func (p *probe) reach(revision uint64) error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		p.mu.Lock()
		delivered, progress := p.delivered, p.progress
		p.mu.Unlock()
		if delivered >= revision {
			return nil
		}
		select {
		case <-progress:
		case <-limit.C:
			return fmt.Errorf("revision %d was not delivered to every engine within %s", revision, patience)
		}
	}
}

func checkDelivered(a, b *probe) error {
	if _, err := a.apply(policy.PutRole(role("a"), "")); err != nil {
		return err
	}
	var last uint64
	for i := range 40 {
		o, err := []*probe{a, b}[i%2].apply(policy.GrantRole(policy.Grant{Principal: who(fmt.Sprint(i)), Role: "a"}))
		if err != nil {
			return err
		}
		last = o.Revision
	}
	if err := errors.Join(a.reach(last), b.reach(last), a.differs(), b.differs()); err != nil {
		return err
	}
	sequence := func(p *probe) (ids []oplog.ProposalID) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for i := range p.outcomes {
			if p.outcomes[i].Applied() {
				ids = append(ids, p.outcomes[i].ID)
			}
		}
		return ids
	}
	if !slices.Equal(sequence(a), sequence(b)) {
		return errors.New("two engines got the revisions in different orders")
	}
	return nil
}

func checkConflict(a, b *probe) error {
	o, err := a.apply(policy.PutRole(role("a"), ""))
	if err != nil {
		return err
	}
	if err := b.reach(o.Revision); err != nil {
		return err
	}
	stale := errors.New("stale")
	propose := func(p *probe, name string) (<-chan oplog.Outcome, error) {
		return p.propose(&oplog.Proposal{
			Change: oplog.Change{Changes: []policy.Change{policy.GrantRole(policy.Grant{Principal: who(name), Role: "a"})}},
			Before: func(tip policy.View) error {
				if tip.Revision() != o.Revision {
					return stale
				}
				return nil
			},
		})
	}
	one, errA := propose(a, "a")
	two, errB := propose(b, "b")
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	first, errA := await(one)
	second, errB := await(two)
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	if first.Applied() == second.Applied() {
		return fmt.Errorf("two updates that exclude each other: %v and %v", first.Err, second.Err)
	}
	return nil
}

// moment is how long a check waits for something that must not happen.
const moment = 30 * time.Millisecond

func (p *probe) confirmed(revision uint64) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), moment)
	defer cancel()
	return p.shared().Await(ctx, revision)
}

func checkConfirmed(a, b *probe) error {
	o, err := a.apply(policy.PutRole(role("a"), ""))
	if err != nil {
		return err
	}
	if err := b.reach(o.Revision); err != nil {
		return err
	}
	b.shared().Confirm(o.Revision-1, nil)
	if missing, err := a.confirmed(o.Revision); err == nil || !slices.Equal(missing, []string{"b"}) {
		return fmt.Errorf("Await returned %v, %v before the other engine confirmed the revision", missing, err)
	}
	b.shared().Confirm(o.Revision, []uint64{o.Revision})
	if missing, err := a.confirmed(o.Revision); err == nil || !slices.Equal(missing, []string{"b"}) {
		return fmt.Errorf("Await returned %v, %v while the revision is not quiesced on the other engine", missing, err)
	}
	answer := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err := a.shared().Await(ctx, o.Revision)
		answer <- err
	}()
	b.shared().Confirm(o.Revision, nil)
	return <-answer
}

func checkLeaving(a, b *probe) error {
	if err := b.close(); err != nil {
		return err
	}
	o, err := a.apply(policy.PutRole(role("a"), ""))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if missing, err := a.shared().Await(ctx, o.Revision); err != nil {
		return fmt.Errorf("Await returned %v, %w although the other engine has left", missing, err)
	}
	return nil
}
