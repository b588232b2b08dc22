package observe

import (
	"context"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Join returns an observer that calls two observers, the first one first. If one of them asks for
// the description of a decision, both get it.
func Join(first, second actors.Observer) actors.Observer {
	j := &joined{first, second}
	c, counters := first.(*Counters)
	l, log := second.(*Log)
	if counters && log {
		return &countersAndLog{joined: j, counters: c, log: l}
	}
	return j
}

// countersAndLog is joined without the two indirect calls of an allowed request.
type countersAndLog struct {
	*joined
	counters *Counters
	log      *Log
}

// Decided implements [actors.Observer].
func (j *countersAndLog) Decided(who policy.Principal, reason policy.Reason) bool {
	j.counters.count(who, reason)
	return j.log.logs(reason) && j.log.Decided(who, reason)
}

type joined struct{ first, second actors.Observer }

// tags are the tags of a lease that two observers have given.
type tags struct{ first, second any }

// Decided implements [actors.Observer].
func (j *joined) Decided(who policy.Principal, reason policy.Reason) bool {
	describe := j.first.Decided(who, reason)
	return j.second.Decided(who, reason) || describe
}

// Described implements [actors.Observer].
func (j *joined) Described(ctx context.Context, d *actors.ObservedDecision) {
	j.first.Described(ctx, d)
	j.second.Described(ctx, d)
}

// Waited implements [actors.Observer].
func (j *joined) Waited(who policy.Principal, wait time.Duration) {
	j.first.Waited(who, wait)
	j.second.Waited(who, wait)
}

// Admitted implements [actors.Observer].
func (j *joined) Admitted(l *actors.Lease) any {
	first, second := j.first.Admitted(l), j.second.Admitted(l)
	if second == nil {
		return first
	}
	return &tags{first, second}
}

// Released implements [actors.Observer].
func (j *joined) Released(l *actors.Lease, tag any, after time.Duration, how string) {
	first, second := tag, any(nil)
	if both, ok := tag.(*tags); ok {
		first, second = both.first, both.second
	}
	j.first.Released(l, first, after, how)
	j.second.Released(l, second, after, how)
}

// Delivered implements [actors.Observer].
func (j *joined) Delivered(u actors.AppliedUpdate) {
	j.first.Delivered(u)
	j.second.Delivered(u)
}

// Quiesced implements [actors.Observer].
func (j *joined) Quiesced(u actors.AppliedUpdate) {
	j.first.Quiesced(u)
	j.second.Quiesced(u)
}

// Swept implements [actors.Observer].
func (j *joined) Swept(took time.Duration) {
	j.first.Swept(took)
	j.second.Swept(took)
}
