//go:build !race

package actors_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The model has one goroutine. The race detector would only slow it down, so make test runs it
// without.
//
// This is a model of delivery (see delivery.go) that is checked exhaustively: one principal, two
// updates, a sweeper, an Execute, an Admit, the pool, and an activation. Each step of the model
// is one atomic operation of the engine. make model prints the number of states, and how each flaw
// breaks a promise.

const modelUpdates = 2

// modelCase is what two updates do. Revision 0 is the state before them.
type modelCase struct {
	name     string
	table    [modelUpdates + 1]bool // what the table of a revision says
	record   [modelUpdates + 1]bool // what the record of a revision says
	either   bool                   // one of both suffices; else both are needed
	shared   [modelUpdates + 1]bool // the revision changes the table
	own      [modelUpdates + 1]bool // the revision changes the record
	activate bool                   // the principal is not in memory at first
}

func (c *modelCase) allowed(table, record int8) bool {
	if c.either {
		return c.table[table] || c.record[record]
	}
	return c.table[table] && c.record[record]
}

// recordAt returns the revision of the record that belongs to a revision.
func (c *modelCase) recordAt(revision int8) int8 {
	for ; revision > 0; revision-- {
		if c.own[revision] {
			return revision
		}
	}
	return 0
}

func (c *modelCase) truth(revision int8) bool { return c.allowed(revision, c.recordAt(revision)) }

// flaw breaks the design in one place.
type flaw int

const (
	flawless flaw = iota
	countBeforeState
	sweepBeforePublication
	publishBeforeRecord
	recordWithOlderTable
	activationDoesNotWait
	readBeforeRegistering
	coalescingForgets
	laneBeforeTable
	noEarlierRevisions
	noSecondLook
	laterLeasesJudged
	sweepVisitsNothing
)

var flawNames = []string{"none", "count before state", "sweep before publication", "publication before the record",
	"record with an older table", "activation does not wait", "read before registering", "coalescing forgets a revision",
	"lane before table", "no earlier revisions", "no second look", "later leases are judged", "sweep visits nothing"}

type modelMessage struct {
	record int8    // the revision of a record; 0 for a sweep's message
	ks     [2]bool // the shared revisions of a sweep, or the earlier ones of a record; by revision - 1
}

func (m modelMessage) concerns(k int8) bool { return m.record == k || m.record == 0 && m.ks[k-1] }

type modelOp struct {
	running, revoked bool
	admitted         int8
}

type actorName int8

const (
	nobodyOwns actorName = iota
	executor
	admitter
	poolWorker
	activator
)

// deliveryState is comparable. Program counters are small numbers; their meaning is in the steps.
type deliveryState struct {
	published int8
	update    int8 // the update that is delivered, 3 when all are
	phase     int8
	unswept   [2]bool
	pending   [2]bool // queued for the sweeper
	sweeping  [2]bool
	sweepPC   int8 // 0 idle, 1 first load, 2 second load
	sawFirst  bool

	lane  [4]modelMessage
	inBox int8

	owner   actorName
	pc      int8 // of the owner: 0 load, 1 lane, 2 decide, 3 in function, 4 end: look, 5 end: swap, 6 second look
	loaded  int8
	turn    actorName // the actor whose turn ends
	opened  int8      // 0 absent, 1 registered, 2 open
	openPC  int8      // 0 first, 1 read, 2 wait
	read    int8      // the record that an activation has read
	record  int8
	ahead   int8
	lease   modelOp
	count   int8 // unreleased leases, as the sweep sees them
	fn      modelOp
	started [5]bool // executor and admitter
	floor   [5]int8
	done    [modelUpdates + 1]bool
	worker  bool // the pool has the principal
}

type model struct {
	modelCase
	flaw  flaw
	seen  map[deliveryState]deliveryState
	label map[deliveryState]string
	found string
	next  []deliveryState
	at    deliveryState
}

func (m *model) go_(label string, change func(s *deliveryState)) {
	s := m.at
	change(&s)
	if _, ok := m.seen[s]; !ok {
		m.seen[s], m.label[s] = m.at, label
		m.next = append(m.next, s)
	}
}

func (m *model) violation(what string) {
	if m.found != "" {
		return
	}
	var steps []string
	for s := m.at; m.label[s] != ""; s = m.seen[s] {
		steps = append(steps, m.label[s])
	}
	slices.Reverse(steps)
	m.found = what + ": " + strings.Join(steps, "; ")
}

// check explores all states. It returns the first violation, "" if there is none.
func (m *model) check(t *testing.T) string {
	start := deliveryState{update: 1, opened: 2}
	if m.activate {
		start.opened = 0
	}
	m.seen, m.label = map[deliveryState]deliveryState{start: {}}, map[deliveryState]string{}
	todo := []deliveryState{start}
	for len(todo) > 0 && m.found == "" {
		m.at, todo = todo[len(todo)-1], todo[:len(todo)-1]
		m.next = nil
		m.deliver()
		m.sweep()
		m.turns()
		m.activation()
		m.releases()
		m.returns()
		if m.stuck() {
			m.violation("an update never returns")
		}
		todo = append(todo, m.next...)
	}
	t.Logf("%s, flaw %s: %d states", m.name, flawNames[m.flaw], len(m.seen))
	return m.found
}

// stuck reports whether nothing can happen any more and an update cannot return.
func (m *model) stuck() bool {
	for k := int8(1); k <= modelUpdates; k++ {
		if m.quiet() && !m.at.done[k] && !m.complete(k) {
			return true
		}
	}
	return false
}

// quiet reports whether only updates can return.
func (m *model) quiet() bool {
	s := &m.at
	return s.owner == nobodyOwns && s.update > modelUpdates && s.sweepPC == 0 && s.pending == [2]bool{} &&
		s.opened == 2 && s.started[executor] && s.started[admitter] && !s.worker && !s.lease.running
}

// deliver is the delivery of an update: records, publication, sweep.
func (m *model) deliver() {
	s := &m.at
	k := s.update
	if k > modelUpdates {
		return
	}
	order := []string{"record", "publish", "sweep"}
	switch m.flaw {
	case sweepBeforePublication:
		order = []string{"record", "sweep", "publish"}
	case publishBeforeRecord:
		order = []string{"publish", "record", "sweep"}
	}
	m.go_(fmt.Sprintf("delivery: %s of %d", order[s.phase], k), func(s *deliveryState) {
		switch order[s.phase] {
		case "record":
			if m.own[k] && s.opened != 0 {
				msg := modelMessage{record: k}
				if m.flaw != noEarlierRevisions {
					msg.ks = s.unswept
				}
				m.post(s, msg)
			}
		case "publish":
			s.published = k
		case "sweep":
			if m.shared[k] {
				s.pending[k-1], s.unswept[k-1] = true, true
			}
		}
		if s.phase++; s.phase == 3 {
			s.phase, s.update = 0, k+1
		}
	})
}

func (m *model) post(s *deliveryState, msg modelMessage) {
	s.lane[s.inBox] = msg
	s.inBox++
	if s.owner == nobodyOwns {
		s.worker = true
	}
}

func (m *model) sweep() {
	s := &m.at
	loads := []func(*deliveryState) bool{
		func(s *deliveryState) bool { return s.owner != nobodyOwns },
		func(s *deliveryState) bool { return s.count > 0 },
	}
	if m.flaw == countBeforeState {
		slices.Reverse(loads)
	}
	switch s.sweepPC {
	case 0:
		if s.pending == [2]bool{} {
			return
		}
		m.go_("sweep: begins", func(s *deliveryState) {
			s.sweeping, s.pending = s.pending, [2]bool{}
			s.sweepPC = 1
		})
	case 1:
		m.go_("sweep: first load", func(s *deliveryState) {
			s.sawFirst = loads[0](s)
			s.sweepPC = 2
			if s.opened != 2 || m.flaw == sweepVisitsNothing {
				m.swept(s)
			}
		})
	case 2:
		m.go_("sweep: second load", func(s *deliveryState) {
			if s.sawFirst || loads[1](s) {
				msg := modelMessage{ks: s.sweeping}
				if m.flaw == coalescingForgets && msg.ks == [2]bool{true, true} {
					msg.ks[0] = false
				}
				m.post(s, msg)
			}
			m.swept(s)
		})
	}
}

func (m *model) swept(s *deliveryState) {
	for i := range s.sweeping {
		s.unswept[i] = s.unswept[i] && !s.sweeping[i]
	}
	s.sweeping, s.sweepPC, s.sawFirst = [2]bool{}, 0, false
}

// turns are the turns of the executor, the admitter and the pool.
func (m *model) turns() {
	s := &m.at
	if s.owner == nobodyOwns {
		if s.opened != 2 {
			return
		}
		for _, who := range []actorName{executor, admitter} {
			if !s.started[who] {
				m.go_(fmt.Sprintf("%d acquires", who), func(s *deliveryState) {
					s.owner, s.pc, s.started[who] = who, 0, true
					for k := int8(1); k <= modelUpdates; k++ {
						if s.done[k] {
							s.floor[who] = k
						}
					}
				})
			}
		}
		if s.worker {
			m.go_("the pool acquires", func(s *deliveryState) { s.owner, s.pc, s.worker = poolWorker, 0, false })
		}
		return
	}
	if s.owner == activator {
		return
	}
	switch s.pc {
	case 0:
		if m.flaw == laneBeforeTable && s.inBox == 0 {
			m.go_("finds the lane empty, before its load", func(s *deliveryState) { s.pc = 7 })
			return
		}
		m.go_("loads the table", func(s *deliveryState) { s.loaded, s.pc = s.published, 1 })
	case 7:
		m.go_("loads the table", func(s *deliveryState) { s.loaded, s.pc = s.published, 2 })
	case 1:
		if s.inBox > 0 {
			m.go_("handles messages", func(s *deliveryState) { m.handle(s); s.pc = 0 })
		} else {
			m.go_("finds the lane empty", func(s *deliveryState) { s.pc = 2 })
		}
	case 2:
		m.go_("decides", func(s *deliveryState) { m.decide(s) })
	case 3:
		m.go_("the function ends", func(s *deliveryState) { s.fn = modelOp{}; s.pc = 4 })
	case 4:
		m.go_("looks at the lane", func(s *deliveryState) {
			if s.pc = 5; s.inBox > 0 {
				s.owner, s.pc = poolWorker, 0 // handles the messages and ends again
			}
		})
	case 5:
		m.go_("ends the turn", func(s *deliveryState) {
			s.owner, s.pc = nobodyOwns, 0
			if m.flaw != noSecondLook && s.inBox > 0 {
				s.worker = true // the second look
			}
		})
	}
}

// handle handles all messages in the lane, in order.
func (m *model) handle(s *deliveryState) {
	for _, msg := range s.lane[:s.inBox] {
		if msg.record == 0 {
			m.judgeShared(s, msg.ks)
			continue
		}
		m.judgeShared(s, msg.ks)
		if msg.record > s.record {
			s.record = msg.record
			if m.flaw != recordWithOlderTable {
				s.ahead = msg.record
			}
			table := msg.record
			if m.flaw == recordWithOlderTable {
				table = s.loaded
			}
			m.judge(s, msg.record, table)
		}
	}
	s.lane, s.inBox = [4]modelMessage{}, 0
}

func (m *model) judgeShared(s *deliveryState, ks [2]bool) {
	for k := int8(1); k <= modelUpdates; k++ {
		if ks[k-1] && s.record <= k {
			m.judge(s, k, k)
		}
	}
}

// judge judges the lease by a revision.
func (m *model) judge(s *deliveryState, k, table int8) {
	if !s.lease.running || s.lease.revoked || s.lease.admitted >= k && m.flaw != laterLeasesJudged || m.allowed(table, s.record) {
		return
	}
	s.lease.revoked = true
	for j := s.lease.admitted + 1; j <= k; j++ {
		if !m.truth(j) {
			return
		}
	}
	m.violation("an operation that is allowed was revoked")
}

func (m *model) decide(s *deliveryState) {
	table := max(s.loaded, s.ahead)
	who := s.owner
	s.turn, s.pc = who, 4
	if who == poolWorker {
		return
	}
	if table < s.floor[who] {
		m.violation("G4: a decision is older than an update that has returned")
	}
	if s.record != m.recordAt(table) {
		m.violation("G1: a decision mixes revisions")
	}
	if !m.allowed(table, s.record) {
		return
	}
	op := modelOp{running: true, admitted: table}
	if who == executor {
		s.fn, s.pc = op, 3
	} else {
		s.lease = op
		s.count++
	}
}

// activation registers, reads the record, waits for its revision and opens.
func (m *model) activation() {
	s := &m.at
	switch {
	case s.opened == 0 && s.openPC == 0 && m.flaw == readBeforeRegistering:
		m.go_("activation: reads", func(s *deliveryState) { s.read, s.openPC = m.stored(s), 1 })
	case s.opened == 0:
		m.go_("activation: registers", func(s *deliveryState) {
			s.opened, s.owner = 1, activator
			if m.flaw == readBeforeRegistering {
				s.openPC = 2
			} else {
				s.openPC = 1
			}
		})
	case s.opened == 1 && s.openPC == 1:
		m.go_("activation: reads", func(s *deliveryState) { s.read, s.openPC = m.stored(s), 2 })
	case s.opened == 1 && s.openPC == 2 && (s.published >= s.read || m.flaw == activationDoesNotWait):
		m.go_("activation: opens", func(s *deliveryState) {
			s.record, s.opened, s.openPC = s.read, 2, 0
			s.owner, s.pc = poolWorker, 4
		})
	}
}

// stored is the newest record in the store: it includes the update that is being delivered,
// and can include one that is not delivered yet.
func (m *model) stored(s *deliveryState) int8 { return m.recordAt(min(s.update, modelUpdates)) }

// releases ends leases that were revoked, and others at any time.
func (m *model) releases() {
	if m.at.lease.running && m.at.owner == nobodyOwns {
		m.go_("the lease is released", func(s *deliveryState) { s.lease = modelOp{}; s.count-- })
	}
}

// returns lets updates return whose trackers have nothing left to wait for.
func (m *model) returns() {
	s := &m.at
	for k := int8(1); k <= modelUpdates; k++ {
		if s.done[k] || !m.complete(k) {
			continue
		}
		for _, op := range []modelOp{s.fn, s.lease} {
			for j := op.admitted + 1; op.running && j <= k; j++ {
				if !m.truth(j) {
					m.violation(fmt.Sprintf("G2: update %d returns while an operation runs that %d forbids", k, j))
				}
			}
		}
		m.go_(fmt.Sprintf("update %d returns", k), func(s *deliveryState) { s.done[k] = true })
	}
}

func (m *model) complete(k int8) bool {
	s := &m.at
	if s.update <= k || s.pending[k-1] || s.sweeping[k-1] || s.lease.running && s.lease.revoked {
		return false
	}
	if s.opened == 1 {
		return true // a mailbox that opens acknowledges at once
	}
	for _, msg := range s.lane[:s.inBox] {
		if msg.concerns(k) {
			return false
		}
	}
	return true
}

var modelCases = []modelCase{
	{name: "shared takes, own takes", table: [3]bool{true, false, false}, record: [3]bool{true, true, false}, shared: [3]bool{1: true}, own: [3]bool{2: true}},
	{name: "own takes, shared changes nothing", table: [3]bool{true, true, true}, record: [3]bool{true, false, false}, shared: [3]bool{2: true}, own: [3]bool{1: true}},
	{name: "one update moves it from the role to the grant", table: [3]bool{true, false, false}, record: [3]bool{false, true, true}, either: true, shared: [3]bool{1: true}, own: [3]bool{1: true}},
	{name: "one update takes from the role and grants it", table: [3]bool{true, false, false}, record: [3]bool{false, true, true}, shared: [3]bool{1: true}, own: [3]bool{1: true}},
	{name: "shared changes nothing, then a move", table: [3]bool{true, true, false}, record: [3]bool{false, false, true}, either: true, shared: [3]bool{1: true, 2: true}, own: [3]bool{2: true}},
	{name: "shared takes and gives back", table: [3]bool{true, false, true}, record: [3]bool{true, true, true}, shared: [3]bool{1: true, 2: true}},
	{name: "own takes and gives back", table: [3]bool{true, true, true}, record: [3]bool{true, false, true}, own: [3]bool{1: true, 2: true}},
	{name: "shared takes, own gives back", table: [3]bool{true, false, false}, record: [3]bool{false, false, true}, either: true, shared: [3]bool{1: true}, own: [3]bool{2: true}},
	{name: "both move back and forth", table: [3]bool{true, false, true}, record: [3]bool{false, true, false}, either: true, shared: [3]bool{1: true, 2: true}, own: [3]bool{1: true, 2: true}},
	{name: "shared gives, own takes with it", table: [3]bool{false, true, false}, record: [3]bool{true, true, false}, shared: [3]bool{1: true, 2: true}, own: [3]bool{2: true}},
}

// TestModelOfDelivery checks that the design holds in all interleavings of all cases.
func TestModelOfDelivery(t *testing.T) {
	t.Parallel()
	for _, c := range modelCases {
		for _, activate := range []bool{false, true} {
			c.activate = activate
			require.Empty(t, (&model{modelCase: c}).check(t), c.name)
		}
	}
}

// TestModelOfDeliveryFindsFlaws checks that each flaw breaks a promise in some case.
func TestModelOfDeliveryFindsFlaws(t *testing.T) {
	t.Parallel()
	for f := countBeforeState; f <= sweepVisitsNothing; f++ {
		found := ""
		for _, c := range modelCases {
			for _, activate := range []bool{false, true} {
				c.activate = activate
				if found == "" {
					found = (&model{modelCase: c, flaw: f}).check(t)
				}
			}
		}
		if found == "" {
			t.Errorf("flaw %q is not found", flawNames[f])
		} else {
			t.Logf("flaw %q: %s", flawNames[f], found)
		}
	}
}
