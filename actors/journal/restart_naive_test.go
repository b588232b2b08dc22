package journal_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
)

// flaws are machines, stores and engines that break a promise over a restart. Each does its
// work with the flaw or without it; the next process is started after that.
var flaws = map[string]func(ctx context.Context, r *restartRun, flawed bool){
	"a machine that forgets what it has synced": func(ctx context.Context, r *restartRun, flawed bool) {
		l := r.founded(ctx)
		earlier := r.machine.powerLoss(seeded(r.seed, 50), 100)
		require.True(r.t, l.change(ctx, 0, gives))
		l.killed(r.t)
		if flawed {
			r.machine = earlier
		}
	},
	"a store that acknowledges what it has not got": func(ctx context.Context, r *restartRun, flawed bool) {
		l := r.founded(ctx)
		l.process.kill()
		if flawed {
			l.counts = func() bool { return true }
		}
		require.Equal(r.t, flawed, l.change(ctx, 0, gives))
		l.killed(r.t)
	},
	"an engine that executes by the state before": func(ctx context.Context, r *restartRun, flawed bool) {
		before := r.founded(ctx)
		require.True(r.t, before.change(ctx, 0, gives))
		before.process.kill()
		defer before.killed(r.t)
		l := r.begin(ctx, 1)
		defer l.killed(r.t)
		require.True(r.t, l.change(ctx, 0, []switched{{principal: 0, role: 0}}))
		if flawed {
			l.decider = before.Engine
		}
		require.True(r.t, l.execute(ctx, event{principal: 0, action: 1}, false))
	},
}

// gives lets principal 0 do action 1.
var gives = []switched{{principal: 0, role: 0, on: true}, {principal: 0, role: 2}}

// founded starts the first process, and lets clients work with it for a while.
func (r *restartRun) founded(ctx context.Context) *life {
	l := r.begin(ctx, 0)
	require.True(r.t, l.ask(ctx, 0, nil, foundation()))
	l.work(ctx, r.seed, 1, 6)
	return l
}

func (l *life) killed(t *testing.T) {
	l.process.kill()
	l.ended(t)
}

// TestRestartCheckerCatchesFlaws proves the checker: each of these breaks a promise and has
// to be caught every time, and without its flaw it is legal.
func TestRestartCheckerCatchesFlaws(t *testing.T) {
	for name, do := range flaws {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(3) {
				for _, flawed := range []bool{false, true} {
					r := &restartRun{t: t, seed: seed, machine: newMachine(), chronicle: newChronicle(), times: &times{}}
					do(t.Context(), r, flawed)
					r.begin(t.Context(), lives).ended(t)
					require.NoError(t, r.chronicle.wrong, "seed %d", seed)
					require.Equal(t, !flawed, porcupine.CheckOperations(restartModel, r.chronicle.events),
						"seed %d, flawed: %v\n%s", seed, flawed, r.chronicle.dump())
				}
			}
		})
	}
}

// TestRestartHistoriesInTestdata checks written histories, legal and illegal ones.
// Each line is the event's interval on the logical clock and the event itself, as a
// failed run prints them.
func TestRestartHistoriesInTestdata(t *testing.T) {
	datadriven.RunTest(t, "testdata/restarts.txt", func(t *testing.T, d *datadriven.TestData) string {
		var ops []porcupine.Operation
		for line := range strings.Lines(d.Input) {
			op := parseEvent(t, line)
			require.Equal(t, strings.TrimSpace(line), fmt.Sprintf("%d %d %v", op.Call, op.Return, op.Input))
			ops = append(ops, op)
		}
		if porcupine.CheckOperations(restartModel, ops) {
			return "legal"
		}
		return "illegal"
	})
}

func parseEvent(t *testing.T, line string) (op porcupine.Operation) {
	t.Helper()
	fields := strings.Fields(line)
	_, err := fmt.Sscan(fields[0]+" "+fields[1], &op.Call, &op.Return)
	require.NoError(t, err, line)
	var e event
	for i, name := range eventNames {
		if name == fields[2] {
			e.kind = eventKind(i)
		}
	}
	for _, f := range fields[3:] {
		var err error
		switch f[0] {
		case 'p':
			_, err = fmt.Sscanf(f, "p%d", &e.principal)
		case 'c':
			_, err = fmt.Sscanf(f, "c%d", &e.client)
		case 'a':
			_, err = fmt.Sscanf(f, "a%d", &e.action)
		case 't':
			e.allowed = true
		case '@':
			_, err = fmt.Sscanf(f, "@%d", &e.revision)
		case 'u':
			var l logged
			_, err = fmt.Sscanf(f, "u%d@%d", &l.update, &l.revision)
			e.update, e.revision, e.log = l.update, l.revision, append(e.log, l)
		case '+', '-':
			w := switched{on: f[0] == '+', role: shared}
			if f[1:] != "shared" {
				_, err = fmt.Sscanf(f[1:], "p%d:r%d", &w.principal, &w.role)
			}
			e.switches = append(e.switches, w)
		}
		require.NoError(t, err, line)
	}
	if e.kind == evRestart {
		e = restarted(e.log)
	}
	op.Input, op.ClientId = e, e.client
	return op
}
