package oplogtest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/oplog/oplogtest"
	"github.com/interlock-authz/interlock/actors/policy"
)

func storeOf(open func() oplog.Log) func() oplogtest.Store {
	return func() oplogtest.Store {
		return oplogtest.Store{Open: func() (oplog.Log, error) { return open(), nil }}
	}
}

func TestMemory(t *testing.T) {
	require.NoError(t, oplogtest.TestLog(storeOf(func() oplog.Log { return oplog.NewMemory() })))
}

func newShared(t *testing.T) *oplogtest.Shared {
	s, err := oplogtest.NewShared(nil, nil)
	require.NoError(t, err)
	return s
}

func joiner(t *testing.T, wrap func(*oplogtest.Member) oplog.SharedLog) func() func(string) (oplog.SharedLog, error) {
	return func() func(string) (oplog.SharedLog, error) {
		s := newShared(t)
		return func(name string) (oplog.SharedLog, error) { return wrap(s.Join(name)), nil }
	}
}

func TestShared(t *testing.T) {
	require.NoError(t, oplogtest.TestLog(storeOf(func() oplog.Log { return newShared(t).Join("a") })))
	require.NoError(t, oplogtest.TestShared(joiner(t, func(m *oplogtest.Member) oplog.SharedLog { return m })))
}

// wrongLog is a memory log that breaks the contract in how it delivers.
type wrongLog struct {
	*oplog.Memory
	deliver func(events oplog.Events, o oplog.Outcome)
	record  func(r *policy.Record) *policy.Record
}

func (w *wrongLog) Open(events oplog.Events) (oplog.InitialState, error) {
	return w.Memory.Open(oplog.Events{Failed: events.Failed, Deliver: func(list []oplog.Outcome) {
		for _, o := range list {
			w.deliver(events, o)
		}
	}})
}

func (w *wrongLog) Record(p policy.Principal) (*policy.Record, error) {
	r, err := w.Memory.Record(p)
	if w.record != nil {
		r = w.record(r)
	}
	return r, err
}

func honest(events oplog.Events, o oplog.Outcome) { events.Deliver([]oplog.Outcome{o}) }

func TestLogFindsWrongLogs(t *testing.T) {
	defer oplogtest.SetPatience(time.Second)()
	for _, wrong := range []struct {
		name, found string
		make        func() *wrongLog
	}{
		{"out of order", "was delivered after revision", func() *wrongLog {
			var held *oplog.Outcome
			return &wrongLog{deliver: func(events oplog.Events, o oplog.Outcome) {
				if held == nil && o.Revision > 5 {
					held = &o
					return
				}
				honest(events, o)
				if held != nil {
					honest(events, *held)
					held = nil
				}
			}}
		}},
		{"twice", "two outcomes", func() *wrongLog {
			return &wrongLog{deliver: func(events oplog.Events, o oplog.Outcome) {
				honest(events, o)
				honest(events, o)
			}}
		}},
		{"answers before it delivers", "before that was delivered", func() *wrongLog {
			return &wrongLog{deliver: func(events oplog.Events, o oplog.Outcome) {
				honest(events, oplog.Outcome{ID: o.ID, Revision: o.Revision, Repeated: true})
				o.ID = oplog.ProposalID{}
				honest(events, o)
			}}
		}},
		{"drops a record", "another record", func() *wrongLog {
			return &wrongLog{deliver: func(events oplog.Events, o oplog.Outcome) {
				for who := range o.Records {
					o.Records = map[policy.Principal]*policy.Record{who: nil}
				}
				honest(events, o)
			}}
		}},
		{"reads lag", "does not include revision", func() *wrongLog {
			var before *policy.Record
			return &wrongLog{deliver: honest, record: func(r *policy.Record) *policy.Record {
				r, before = before, r
				return r
			}}
		}},
	} {
		t.Run(wrong.name, func(t *testing.T) {
			err := oplogtest.TestLog(storeOf(func() oplog.Log {
				w := wrong.make()
				w.Memory = oplog.NewMemory()
				return w
			}))
			require.ErrorContains(t, err, wrong.found)
		})
	}
}

// hasty answers before the other engines have confirmed.
type hasty struct{ *oplogtest.Member }

func (hasty) Await(context.Context, uint64) ([]string, error) { return nil, nil }

// deaf forgets which revisions are not quiesced.
type deaf struct{ *oplogtest.Member }

func (d deaf) Confirm(applied uint64, _ []uint64) { d.Member.Confirm(applied, nil) }

// eager takes the opening of the log for a confirmation.
type eager struct{ *oplogtest.Member }

func (e eager) Open(events oplog.Events) (oplog.InitialState, error) {
	initial, err := e.Member.Open(events)
	if err == nil {
		e.Confirm(initial.Table.Revision(), nil)
	}
	return initial, err
}

func TestSharedFindsWrongLogs(t *testing.T) {
	err := oplogtest.TestShared(joiner(t, func(m *oplogtest.Member) oplog.SharedLog { return hasty{m} }))
	require.ErrorContains(t, err, "before the other engine confirmed the revision")
	err = oplogtest.TestShared(joiner(t, func(m *oplogtest.Member) oplog.SharedLog { return deaf{m} }))
	require.ErrorContains(t, err, "not quiesced on the other engine")
	err = oplogtest.TestShared(joiner(t, func(m *oplogtest.Member) oplog.SharedLog { return eager{m} }))
	require.ErrorContains(t, err, "before an engine that has joined confirmed anything")
}
