package bench

import "testing"

func benchmark(b *testing.B, s side) {
	defer s.close()
	s.run(b)
}

func BenchmarkExecuteHot(b *testing.B)       { benchmark(b, executeSide("", eightPermissions(1))) }
func BenchmarkRequestFutureHot(b *testing.B) { benchmark(b, futureSide("", eightPermissions(1))) }
func BenchmarkRWMutexHot(b *testing.B)       { benchmark(b, rwMutexSide("", eightPermissions(1))) }
func BenchmarkExecute1000(b *testing.B)      { benchmark(b, executeSide("", eightPermissions(1000))) }
func BenchmarkRWMutex1000(b *testing.B)      { benchmark(b, rwMutexSide("", eightPermissions(1000))) }
func BenchmarkExecute10000(b *testing.B)     { benchmark(b, executeSide("", eightPermissions(10000))) }
func BenchmarkRWMutex10000(b *testing.B)     { benchmark(b, rwMutexSide("", eightPermissions(10000))) }
func BenchmarkAdmit1000(b *testing.B)        { benchmark(b, admitSide("", eightPermissions(1000))) }
func BenchmarkExecuteBaseline(b *testing.B)  { benchmark(b, executeSide("", random(1000, 50, 20, 3))) }
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

// The comparison is worth nothing if the sides answer differently.
func TestSidesAgree(t *testing.T) {
	for _, w := range []*world{random(200, 50, 20, 3), random(50, 100, 200, 100)} {
		e, g, m := w.engine(), newGuarded(w), newRoleMap(w)
		allowed := 0
		for _, q := range w.queries {
			d, err := e.Decide(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if d.Allowed {
				allowed++
			}
			if other := g.read(q, func() {}); other != d.Allowed {
				t.Fatalf("%v: the engine says %v, the lock %v", q, d.Allowed, other)
			}
			if other := m.check(q.Principal.String(), q.Action, q.Resource); other != d.Allowed {
				t.Fatalf("%v: the engine says %v, the map %v", q, d.Allowed, other)
			}
		}
		if share := float64(allowed) / float64(len(w.queries)); share < 0.4 || share > 0.99 {
			t.Errorf("%.2f of the queries are allowed: the fixture is lopsided", share)
		}
		if err := e.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
