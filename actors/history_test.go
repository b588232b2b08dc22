package actors_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// A history is what happened to several principals, as begin and end of uses, denials,
// and two events for each update and principal that it concerns: apply, by which the
// policy changes and every running use that it forbids is marked for good, and quiesce,
// at which no use that was marked at or before that revision may be running.

const (
	historyClients = 8
	historyActions = 3
)

type eventKind int

const (
	evBegin eventKind = iota
	evEnd
	evDenied
	evApply
	evQuiesce
)

var eventNames = []string{"begin", "end", "denied", "apply", "quiesce"}

type event struct {
	kind      eventKind
	principal int
	client    int
	action    int
	revision  uint64
	allowed   [historyActions]bool // apply: what the principal may do from now on
}

func (e event) String() string {
	switch e.kind {
	case evApply:
		return fmt.Sprintf("apply p%d r%d %v", e.principal, e.revision, e.allowed)
	case evQuiesce:
		return fmt.Sprintf("quiesce p%d r%d", e.principal, e.revision)
	}
	return fmt.Sprintf("%s p%d c%d a%d", eventNames[e.kind], e.principal, e.client, e.action)
}

// history collects events on a logical clock that agrees with real time.
type history struct {
	clock  atomic.Int64
	mu     sync.Mutex
	events []porcupine.Operation
	// decisions and acknowledgments, for the scan of G4
	decided []stamped
	acked   []stamped
}

type stamped struct {
	at       int64
	revision uint64
}

func (h *history) now() int64 { return h.clock.Add(1) }

func (h *history) add(e event, call, ret int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, porcupine.Operation{ClientId: e.client, Input: e, Call: call, Return: ret})
}

// instant records an event at this very moment.
func (h *history) instant(e event) {
	t := h.now()
	h.add(e, t, h.now())
}

func (h *history) decision(call int64, revision uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.decided = append(h.decided, stamped{call, revision})
}

func (h *history) ack(ret int64, revision uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acked = append(h.acked, stamped{ret, revision})
}

// monotonicErr is the first violation of G4: a decision that began after an update had
// returned and names an older revision.
func (h *history) monotonicErr() error {
	slices.SortFunc(h.acked, func(a, b stamped) int { return int(a.at - b.at) })
	slices.SortFunc(h.decided, func(a, b stamped) int { return int(a.at - b.at) })
	var least uint64
	i := 0
	for _, d := range h.decided {
		for ; i < len(h.acked) && h.acked[i].at < d.at; i++ {
			least = max(least, h.acked[i].revision)
		}
		if d.revision < least {
			return fmt.Errorf("a decision at %d names revision %d after revision %d was acknowledged", d.at, d.revision, least)
		}
	}
	return nil
}

// use is a running operation in the model: which action, and the revision that took its
// authority, 0 if none did.
type use struct {
	running bool
	action  int
	marked  uint64
}

type modelState struct {
	allowed  [historyActions]bool
	revision uint64
	uses     [historyClients]use
}

var historyModel = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		by := map[int][]porcupine.Operation{}
		for _, op := range all {
			p := op.Input.(event).principal
			by[p] = append(by[p], op)
		}
		var parts [][]porcupine.Operation
		for _, ops := range by {
			parts = append(parts, ops)
		}
		return parts
	},
	Init:  func() any { return modelState{} },
	Step:  func(state, input, _ any) (bool, any) { return step(state.(modelState), input.(event)) },
	Equal: func(a, b any) bool { return a.(modelState) == b.(modelState) },
	DescribeOperation: func(input, _ any) string {
		return input.(event).String()
	},
}

func step(s modelState, e event) (bool, any) {
	switch e.kind {
	case evBegin:
		if !s.allowed[e.action] || s.uses[e.client].running {
			return false, s
		}
		s.uses[e.client] = use{running: true, action: e.action}
	case evEnd:
		if !s.uses[e.client].running {
			return false, s
		}
		s.uses[e.client] = use{}
	case evDenied:
		return !s.allowed[e.action], s
	case evApply:
		if e.revision <= s.revision {
			return false, s
		}
		s.revision, s.allowed = e.revision, e.allowed
		for i := range s.uses {
			if u := &s.uses[i]; u.running && u.marked == 0 && !s.allowed[u.action] {
				u.marked = e.revision
			}
		}
	case evQuiesce:
		if s.revision < e.revision {
			return false, s
		}
		for _, u := range s.uses {
			if u.running && u.marked != 0 && u.marked <= e.revision {
				return false, s
			}
		}
	}
	return true, s
}

// check says whether the history is linearizable; a checker that gave up is a failure.
func (h *history) check(t *testing.T) (legal bool) {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(historyModel, h.events, time.Minute)
	require.NotEqual(t, porcupine.Unknown, result, "the checker gave up")
	if result == porcupine.Illegal && os.Getenv("INTERLOCK_HISTORIES") != "" {
		path := filepath.Join(os.Getenv("INTERLOCK_HISTORIES"), fmt.Sprintf("%s-%d.html", filepath.Base(t.Name()), time.Now().UnixNano()))
		require.NoError(t, porcupine.VisualizePath(historyModel, info, path))
		t.Logf("history saved in %s", path)
	}
	return result == porcupine.Ok
}

// dump prints the events of the principals whose histories are illegal, in the order of their
// calls.
func (h *history) dump() string {
	var illegal []porcupine.Operation
	for _, part := range historyModel.Partition(h.events) {
		if !porcupine.CheckOperations(historyModel, part) {
			illegal = append(illegal, part...)
		}
	}
	h.events = illegal
	slices.SortFunc(h.events, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var b bytes.Buffer
	for _, op := range h.events {
		fmt.Fprintf(&b, "[%d,%d] %v\n", op.Call, op.Return, op.Input)
	}
	return b.String()
}
