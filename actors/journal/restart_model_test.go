package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// A chronicle records what several principals did while processes started and ended on one
// machine. It has the begin and the end of each use, each decision, an apply event for each
// update that the log kept, and a quiesce event for each principal that such an update
// concerns. A restart ends all uses; its event has the log that the next process found.

const (
	chroniclePrincipals = 3
	chronicleClients    = 5
	chronicleActions    = 3
	chronicleRoles      = 3
)

type eventKind int

const (
	evBegin eventKind = iota
	evEnd
	evDecided
	evApply
	evQuiesce
	evRestart
)

var eventNames = []string{"begin", "end", "decided", "apply", "quiesce", "restart"}

// switched is a part of an update. It sets whether a principal holds a role. For the role
// shared, which all principals hold, it sets whether the role allows action 2.
type switched struct {
	principal, role int
	on              bool
}

const shared = chronicleRoles

func (s switched) String() string {
	sign := "-"
	if s.on {
		sign = "+"
	}
	if s.role == shared {
		return sign + "shared"
	}
	return fmt.Sprintf("%sp%d:r%d", sign, s.principal, s.role)
}

type event struct {
	kind      eventKind
	principal int // not set for apply and restart
	client    int
	action    int
	allowed   bool       // decided
	revision  uint64     // decided, apply, quiesce, restart
	update    int        // apply: the number of the update
	switches  []switched // apply
	log       []logged   // restart
	order     uint64     // restart: a number for the order of the log
}

// logged is an update in the log of a store.
type logged struct {
	update   int
	revision uint64
}

func (l logged) String() string { return fmt.Sprintf("u%d@%d", l.update, l.revision) }

// after returns a number for a log with one more update. It differs between orders of
// updates.
func (l logged) after(order uint64) uint64 {
	return (order*1_000_003+l.revision)*1_000_003 + uint64(l.update) + 1
}

// restarted is the event of a process that finds a log.
func restarted(log []logged) event {
	e := event{kind: evRestart, log: log}
	for _, l := range log {
		e.revision, e.order = l.revision, l.after(e.order)
	}
	return e
}

// String returns the text that [parseEvent] reads.
func (e event) String() string {
	name := eventNames[e.kind]
	switch e.kind {
	case evDecided:
		return fmt.Sprintf("%s p%d a%d %v @%d", name, e.principal, e.action, e.allowed, e.revision)
	case evApply:
		return strings.TrimSpace(fmt.Sprintf("%s u%d@%d %s", name, e.update, e.revision, words(e.switches)))
	case evQuiesce:
		return fmt.Sprintf("%s p%d @%d", name, e.principal, e.revision)
	case evRestart:
		return strings.TrimSpace(name + " " + words(e.log))
	}
	return fmt.Sprintf("%s p%d c%d a%d", name, e.principal, e.client, e.action)
}

func words[T any](list []T) string { return strings.Trim(fmt.Sprint(list), "[]") }

// running is a use in the model: its action, and the revision that took its authority, 0 if
// none did.
type running struct {
	is     bool
	action int
	marked uint64
}

// policyState is one principal in the model.
type policyState struct {
	revision uint64
	order    uint64
	holds    [chronicleRoles]bool
	shared   bool
	uses     [chronicleClients]running
}

// allows defines the roles: role 0 allows actions 0 and 1, role 1 denies action 0, role 2
// allows action 0 and denies the others.
func (s *policyState) allows(action int) bool {
	switch action {
	case 0:
		return (s.holds[0] || s.holds[2]) && !s.holds[1]
	case 1:
		return s.holds[0] && !s.holds[2]
	}
	return s.shared && !s.holds[2]
}

var restartModel = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		parts := make([][]porcupine.Operation, chroniclePrincipals)
		for _, op := range all {
			e := op.Input.(event)
			for p := range parts {
				if e.kind == evApply || e.kind == evRestart {
					e.principal = p
				}
				if op.Input = e; e.principal == p {
					parts[p] = append(parts[p], op)
				}
			}
		}
		return parts
	},
	Init:              func() any { return policyState{} },
	Step:              func(state, input, _ any) (bool, any) { return step(state.(policyState), input.(event)) },
	Equal:             func(a, b any) bool { return a.(policyState) == b.(policyState) },
	DescribeOperation: func(input, _ any) string { return input.(event).String() },
}

func step(s policyState, e event) (bool, any) {
	use := &s.uses[e.client]
	switch e.kind {
	case evBegin:
		if !s.allows(e.action) || use.is {
			return false, s
		}
		*use = running{is: true, action: e.action}
	case evEnd:
		if !use.is {
			return false, s
		}
		*use = running{}
	case evDecided:
		return e.revision == s.revision && e.allowed == s.allows(e.action), s
	case evApply:
		if e.revision <= s.revision {
			return false, s
		}
		s.apply(e)
	case evQuiesce:
		return s.revision >= e.revision && !slices.ContainsFunc(s.uses[:], func(u running) bool {
			return u.marked != 0 && u.marked <= e.revision
		}), s
	case evRestart:
		if e.revision != s.revision || e.order != s.order {
			return false, s // an update is missing, unexpected or in another place
		}
		s.uses = [chronicleClients]running{}
	}
	return true, s
}

func (s *policyState) apply(e event) {
	s.revision, s.order = e.revision, logged{e.update, e.revision}.after(s.order)
	for _, w := range e.switches {
		switch {
		case w.role == shared:
			s.shared = w.on
		case w.principal == e.principal:
			s.holds[w.role] = w.on
		}
	}
	for i := range s.uses {
		if u := &s.uses[i]; u.is && u.marked == 0 && !s.allows(u.action) {
			u.marked = e.revision
		}
	}
}

// asked is an update that is neither acknowledged nor refused.
type asked struct {
	call     int64
	client   int
	switches []switched
}

// chronicle collects events on a logical clock that agrees with real time.
type chronicle struct {
	clock   atomic.Int64
	updates atomic.Int64

	mu      sync.Mutex
	events  []porcupine.Operation
	pending map[int]asked
	stood   int // pending updates that the log had at a restart
	fell    int
	wrong   error // an error that the model is not needed for
}

func newChronicle() *chronicle { return &chronicle{pending: map[int]asked{}} }

func (c *chronicle) now() int64 { return c.clock.Add(1) }

func (c *chronicle) add(e event, call, ret int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(e, call, ret)
}

func (c *chronicle) put(e event, call, ret int64) {
	c.events = append(c.events, porcupine.Operation{ClientId: e.client, Input: e, Call: call, Return: ret})
}

// went records the first error.
func (c *chronicle) went(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wrong == nil {
		c.wrong = err
	}
}

// ask records that a client asks for an update, and numbers the update.
func (c *chronicle) ask(client int, switches []switched) (update int) {
	update = int(c.updates.Add(1))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending[update] = asked{call: c.now(), client: client, switches: switches}
	return update
}

// stands records that an update was acknowledged with that revision.
func (c *chronicle) stands(update int, revision uint64, quiesced bool, ret int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.pending[update]
	delete(c.pending, update)
	c.put(event{kind: evApply, client: a.client, revision: revision, update: update, switches: a.switches}, a.call, ret)
	for p := range chroniclePrincipals {
		if quiesced && concerns(a.switches, p) {
			c.put(event{kind: evQuiesce, client: a.client, principal: p, revision: revision}, a.call, ret)
		}
	}
}

func concerns(switches []switched, principal int) bool {
	return slices.ContainsFunc(switches, func(w switched) bool { return w.role == shared || w.principal == principal })
}

// refused records that an update was not applied and never will be.
func (c *chronicle) refused(update int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, update)
}

// restart records the log that a process found, after all clients of the process before
// have ended. An update that was not acknowledged took effect at some time before if the
// log has it, and otherwise never takes effect. The model rejects a log that lacks an
// acknowledged update or has a refused one.
func (c *chronicle) restart(log []logged) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gone := c.now()
	for _, l := range log {
		if a, ok := c.pending[l.update]; ok {
			c.put(event{kind: evApply, client: a.client, revision: l.revision, update: l.update, switches: a.switches}, a.call, gone)
			delete(c.pending, l.update)
			c.stood++
		}
	}
	c.fell += len(c.pending)
	clear(c.pending)
	c.put(restarted(log), c.now(), c.now())
}

// legal reports whether the chronicle is linearizable. A checker that gives up is a
// failure.
func (c *chronicle) legal(t *testing.T) bool {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(restartModel, c.events, time.Minute)
	require.NotEqual(t, porcupine.Unknown, result, "the checker gave up")
	if folder := os.Getenv("INTERLOCK_HISTORIES"); result == porcupine.Illegal && folder != "" {
		path := filepath.Join(folder, fmt.Sprintf("restarts-%d.html", time.Now().UnixNano()))
		require.NoError(t, porcupine.VisualizePath(restartModel, info, path))
		t.Logf("history saved in %s", path)
	}
	return result == porcupine.Ok
}

// dump prints the events in the order of their calls, for a failed run.
func (c *chronicle) dump() string {
	slices.SortFunc(c.events, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var text strings.Builder
	for _, op := range c.events {
		fmt.Fprintf(&text, "%d %d %v\n", op.Call, op.Return, op.Input)
	}
	return text.String()
}
