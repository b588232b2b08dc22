// Package historytest checks histories of operations and updates for linearizability (G1, G2) and for
// monotonic revisions (G4), for tests of the engine and of what enforces its decisions.
package historytest

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

// The limits of a history. A client has one use at a time.
const (
	Clients = 8
	Actions = 3
)

// Kind is the kind of an event.
type Kind int

// The kinds of events. An update has the two events Apply and Quiesce for each principal that it
// concerns, both in the interval from its call to its receipt.
const (
	Begin   Kind = iota // of a use
	End                 // of a use
	Denied              // a use
	Apply               // changes the policy, and marks each running use that it forbids, for good
	Quiesce             // no use that was marked at this revision or an earlier one is running
)

var eventNames = []string{"begin", "end", "denied", "apply", "quiesce"}

// Event is an event of a history.
type Event struct {
	Kind      Kind
	Principal int
	Client    int
	Action    int
	Revision  uint64
	Allowed   [Actions]bool // Apply: what the principal may do from now on
}

// String names the event as the histories in testdata do.
func (e Event) String() string {
	switch e.Kind {
	case Apply:
		return fmt.Sprintf("apply p%d r%d %v", e.Principal, e.Revision, e.Allowed)
	case Quiesce:
		return fmt.Sprintf("quiesce p%d r%d", e.Principal, e.Revision)
	}
	return fmt.Sprintf("%s p%d c%d a%d", eventNames[e.Kind], e.Principal, e.Client, e.Action)
}

// History collects the events of several principals on a logical clock that agrees with real time. It
// is safe for concurrent use.
type History struct {
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

// Now returns the time.
func (h *History) Now() int64 { return h.clock.Add(1) }

// Add records an event that happened at some moment between call and ret.
func (h *History) Add(e Event, call, ret int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, porcupine.Operation{ClientId: e.Client, Input: e, Call: call, Return: ret})
}

// Operations returns the events so far.
func (h *History) Operations() []porcupine.Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

// Instant records an event that happens now.
func (h *History) Instant(e Event) {
	t := h.Now()
	h.Add(e, t, h.Now())
}

// Decision records that a decision which began at call names a revision.
func (h *History) Decision(call int64, revision uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.decided = append(h.decided, stamped{call, revision})
}

// Ack records that an update returned its revision at ret.
func (h *History) Ack(ret int64, revision uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acked = append(h.acked, stamped{ret, revision})
}

// MonotonicErr returns the first violation of G4: a decision that began after an update had
// returned and names an older revision.
func (h *History) MonotonicErr() error {
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
	allowed  [Actions]bool
	revision uint64
	uses     [Clients]use
}

// Model is the model of the promises G1 and G2.
var Model = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		by := map[int][]porcupine.Operation{}
		for _, op := range all {
			p := op.Input.(Event).Principal
			by[p] = append(by[p], op)
		}
		var parts [][]porcupine.Operation
		for _, ops := range by {
			parts = append(parts, ops)
		}
		return parts
	},
	Init:  func() any { return modelState{} },
	Step:  func(state, input, _ any) (bool, any) { return step(state.(modelState), input.(Event)) },
	Equal: func(a, b any) bool { return a.(modelState) == b.(modelState) },
	DescribeOperation: func(input, _ any) string {
		return input.(Event).String()
	},
}

func step(s modelState, e Event) (bool, any) {
	switch e.Kind {
	case Begin:
		if !s.allowed[e.Action] || s.uses[e.Client].running {
			return false, s
		}
		s.uses[e.Client] = use{running: true, action: e.Action}
	case End:
		if !s.uses[e.Client].running {
			return false, s
		}
		s.uses[e.Client] = use{}
	case Denied:
		return !s.allowed[e.Action], s
	case Apply:
		if e.Revision <= s.revision {
			return false, s
		}
		s.revision, s.allowed = e.Revision, e.Allowed
		for i := range s.uses {
			if u := &s.uses[i]; u.running && u.marked == 0 && !s.allowed[u.action] {
				u.marked = e.Revision
			}
		}
	case Quiesce:
		if s.revision < e.Revision {
			return false, s
		}
		for _, u := range s.uses {
			if u.running && u.marked != 0 && u.marked <= e.Revision {
				return false, s
			}
		}
	}
	return true, s
}

// Check reports whether the history is linearizable. A checker that gave up is a failure. It saves an
// illegal history in the folder that INTERLOCK_HISTORIES names.
func (h *History) Check(t testing.TB) (legal bool) {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(Model, h.Operations(), time.Minute)
	require.NotEqual(t, porcupine.Unknown, result, "the checker gave up")
	if result == porcupine.Illegal && os.Getenv("INTERLOCK_HISTORIES") != "" {
		path := filepath.Join(os.Getenv("INTERLOCK_HISTORIES"), fmt.Sprintf("%s-%d.html", filepath.Base(t.Name()), time.Now().UnixNano()))
		require.NoError(t, porcupine.VisualizePath(Model, info, path))
		t.Logf("history saved in %s", path)
	}
	return result == porcupine.Ok
}

// Dump returns the events of the principals whose histories are illegal, in the order of their
// calls.
func (h *History) Dump() string {
	var illegal []porcupine.Operation
	for _, part := range Model.Partition(h.Operations()) {
		if !porcupine.CheckOperations(Model, part) {
			illegal = append(illegal, part...)
		}
	}
	slices.SortFunc(illegal, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var b bytes.Buffer
	for _, op := range illegal {
		fmt.Fprintf(&b, "[%d,%d] %v\n", op.Call, op.Return, op.Input)
	}
	return b.String()
}
