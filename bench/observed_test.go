package bench

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/observe"
)

func BenchmarkObserverExecuteHotNone(b *testing.B) {
	benchmark(b, executeSide("", eightPermissions(1)))
}

func BenchmarkObserverExecuteHotCounted(b *testing.B) {
	benchmark(b, counted(executeOn, "", eightPermissions(1)))
}

func BenchmarkObserverExecute1000None(b *testing.B) {
	benchmark(b, executeSide("", eightPermissions(1000)))
}

func BenchmarkObserverExecute1000Counted(b *testing.B) {
	benchmark(b, counted(executeOn, "", eightPermissions(1000)))
}

func BenchmarkObserverExecute1000Logged(b *testing.B) {
	benchmark(b, logged(executeOn, "", eightPermissions(1000)))
}

func BenchmarkObserverDoHotNone(b *testing.B) { benchmark(b, doSide("", eightPermissions(1))) }

func BenchmarkObserverDoHotCounted(b *testing.B) {
	benchmark(b, counted(doOn, "", eightPermissions(1)))
}

// BenchmarkObserverDecided is a decision's own cost of the counters.
func BenchmarkObserverDecided(b *testing.B) {
	c, who := actors.Observer(observe.NewCounters()), principalNumber(1)
	b.ReportAllocs()
	for b.Loop() {
		c.Decided(who, 1)
	}
}

// BenchmarkScrape reads what a scrape of /metrics reads of an engine with 1,000,000 active
// principals, of which 100,000 have a lease. It reports the processor time of a scrape, and the
// 99.9th percentile of Execute alone and while scrapes follow each other.
func BenchmarkScrape(b *testing.B) {
	const principals, held = 1_000_000, 100_000
	w := eightPermissions(principals)
	c := observe.NewCounters()
	e := w.observedEngine(c)
	defer func() { _ = e.Close(background) }()
	var leases []*actors.Lease
	for i := range w.queries {
		if i < held {
			leases = append(leases, must(e.Admit(background, w.queries[i])))
		} else {
			mustDecide(e.Execute(background, w.queries[i], nothing))
		}
	}
	defer func() {
		for _, l := range leases {
			l.Release()
		}
	}()
	scrape := func() {
		n := c.Read()
		if n.Leases != held || e.Active() != principals {
			b.Fatal(fmt.Sprint(n.Leases, " leases, ", e.Active(), " principals"))
		}
	}
	execute := &disturbance{quantile: 99.9, call: func() { mustDecide(e.Execute(background, w.queries[principals-1], nothing)) }}
	alone := execute.measure(time.Second)
	var over atomic.Bool
	var scraping sync.WaitGroup
	scraping.Go(func() {
		hundred := time.NewTicker(10 * time.Millisecond) // in a second
		defer hundred.Stop()
		for !over.Load() {
			scrape()
			<-hundred.C
		}
	})
	during := execute.measure(time.Second)
	over.Store(true)
	scraping.Wait()
	start := processorTime(b)
	b.ReportAllocs()
	for b.Loop() {
		scrape()
	}
	b.ReportMetric(float64(processorTime(b)-start)/1e6/float64(b.N), "cpu-ms/op")
	b.ReportMetric(alone, "p99.9-alone-ns")
	b.ReportMetric(during, "p99.9-scraped-ns")
}

// TestObservedSidesAreObserved: a ratio is worth nothing if the observer is not told.
func TestObservedSidesAreObserved(t *testing.T) {
	c := observe.NewCounters()
	w := eightPermissions(3)
	e := w.observedEngine(c)
	defer func() { require.NoError(t, e.Close(background)) }()
	activate(e, w)
	require.EqualValues(t, 1<<14, c.Read().Decisions[1])
}
