package bench

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func benchmark(b *testing.B, s side) {
	defer s.close()
	s.run(b)
}

func BenchmarkExecuteHot(b *testing.B)       { benchmark(b, executeSide("", eightPermissions(1))) }
func BenchmarkDoHot(b *testing.B)            { benchmark(b, doSide("", eightPermissions(1))) }
func BenchmarkDo1000(b *testing.B)           { benchmark(b, doSide("", eightPermissions(1000))) }
func BenchmarkDo10000(b *testing.B)          { benchmark(b, doSide("", eightPermissions(10000))) }
func BenchmarkDoBaseline(b *testing.B)       { benchmark(b, doSide("", random(1000, 50, 20, 3))) }
func BenchmarkDoHundredRoles(b *testing.B)   { benchmark(b, doSide("", random(1000, 100, 1000, 100))) }
func BenchmarkRequestFutureHot(b *testing.B) { benchmark(b, futureSide("", eightPermissions(1))) }
func BenchmarkRWMutexHot(b *testing.B)       { benchmark(b, rwMutexSide("", eightPermissions(1))) }
func BenchmarkExecute1000(b *testing.B)      { benchmark(b, executeSide("", eightPermissions(1000))) }
func BenchmarkRWMutex1000(b *testing.B)      { benchmark(b, rwMutexSide("", eightPermissions(1000))) }
func BenchmarkExecute10000(b *testing.B)     { benchmark(b, executeSide("", eightPermissions(10000))) }
func BenchmarkRWMutex10000(b *testing.B)     { benchmark(b, rwMutexSide("", eightPermissions(10000))) }
func BenchmarkExecuteCertified1000(b *testing.B) {
	benchmark(b, certifiedSide("", eightPermissions(1000), 1_000_000))
}

func BenchmarkAdmit1000(b *testing.B)       { benchmark(b, admitSide("", eightPermissions(1000))) }
func BenchmarkExecuteBaseline(b *testing.B) { benchmark(b, executeSide("", random(1000, 50, 20, 3))) }
func BenchmarkRWMutexMapBaseline(b *testing.B) {
	benchmark(b, mapSide("", random(1000, 50, 20, 3)))
}
func BenchmarkExecuteHundredRoles(b *testing.B) {
	benchmark(b, executeSide("", random(1000, 100, 1000, 100)))
}
func BenchmarkRWMutexMapHundredRoles(b *testing.B) {
	benchmark(b, mapSide("", random(1000, 100, 1000, 100)))
}

func BenchmarkExecuteContended(b *testing.B) {
	benchmark(b, contendedExecute("", eightPermissions(1)))
}

func BenchmarkRWMutexContended(b *testing.B) {
	benchmark(b, contendedRead("", eightPermissions(1)))
}

// TestSidesAgree: a comparison is worth nothing if the sides answer differently.
func TestSidesAgree(t *testing.T) {
	for _, w := range []*world{random(200, 50, 20, 3), random(50, 100, 200, 100)} {
		m := newRoleMap(w)
		var strategies []strategy
		for _, c := range contestants() {
			s := c.start(w)
			t.Cleanup(s.close)
			strategies = append(strategies, s)
		}
		allowed := 0
		for i := range w.queries {
			q := &w.queries[i]
			want := strategies[0].use(q, nothing)
			if want {
				allowed++
			}
			for n, s := range strategies {
				require.Equal(t, want, s.use(q, nothing), "%s: %v", contestants()[n].name, q)
			}
			require.Equal(t, want, m.check(q.Principal.String(), q.Action, q.Resource), "the map: %v", q)
		}
		share := float64(allowed) / float64(len(w.queries))
		require.True(t, 0.4 < share && share < 0.99, "%.2f of the queries are allowed: the fixture is lopsided", share)
	}
}

// TestStrategiesFollowChanges: each takes and gives, by principal and by role.
func TestStrategiesFollowChanges(t *testing.T) {
	for _, c := range contestants() {
		t.Run(c.name, func(t *testing.T) {
			w := eightPermissions(3)
			s := c.start(w)
			defer s.close()
			uses := func() (all [3]bool) {
				for i := range all {
					ran := false
					all[i] = s.use(&w.queries[i], func(context.Context) error { ran = true; return nil })
					require.Equal(t, all[i], ran)
				}
				return all
			}
			require.Equal(t, [3]bool{true, true, true}, uses())
			s.change(w.queries[1].Principal, false)
			require.Equal(t, [3]bool{true, false, true}, uses())
			s.change(w.queries[1].Principal, true)
			s.changeRole(false)
			require.Equal(t, [3]bool{}, uses())
			s.changeRole(true)
			require.Equal(t, [3]bool{true, true, true}, uses())
		})
	}
}
