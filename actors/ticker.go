package actors

import (
	"container/heap"
	"slices"
	"sync/atomic"
	"time"
)

// tick is the interval at which the published time advances. Expiry takes effect at most one
// tick late.
const tick = time.Second

// ticker publishes the time, and visits principals when a grant or a credential of theirs
// expires. Only its goroutine uses the heap; turns push their requests onto a stack.
type ticker struct {
	engine *Engine
	asked  atomic.Pointer[visit]
	heap   visits
	start  time.Time
	wall   int64 // published last
	stop   chan struct{}
	done   chan struct{}
}

// visit is a request to visit a principal, in nanoseconds of Unix time.
type visit struct {
	next *visit
	who  *visited
	due  int64
}

// visited is the ticker's reference to a principal. It is empty once the principal was
// passivated, so that a visit in the far future keeps no principal in memory.
type visited struct{ p atomic.Pointer[principal] }

// sweepEvery is the number of ticks after which visits to passivated principals are dropped.
const sweepEvery = 60

func newTicker(e *Engine) *ticker {
	now := time.Now()
	t := &ticker{engine: e, start: now, wall: now.UnixNano(), stop: make(chan struct{}), done: make(chan struct{})}
	e.shared.time.Store(t.wall)
	return t
}

// watch asks for a visit at due, in nanoseconds of Unix time. It takes no lock.
func (t *ticker) watch(who *visited, due int64) {
	w := &visit{who: who, due: due}
	for {
		w.next = t.asked.Load()
		if t.asked.CompareAndSwap(w.next, w) {
			return
		}
	}
}

func (t *ticker) run() {
	defer close(t.done)
	clock := time.NewTicker(tick)
	defer clock.Stop()
	last := t.start
	for n := 1; ; n++ {
		select {
		case <-t.stop:
			return
		case <-clock.C:
		}
		now := time.Now()
		t.publish(now, now.Sub(last))
		last = now
		t.visitDue()
		if n%sweepEvery == 0 {
			t.heap = slices.DeleteFunc(t.heap, func(w *visit) bool { return w.who.p.Load() == nil })
			heap.Init(&t.heap)
		}
		t.engine.passivateIdle()
	}
}

// publish advances the published time. It follows the wall clock forward, also over a jump.
// When the wall clock goes back, it advances by the monotonic clock instead, because an expired
// grant must not become valid again.
func (t *ticker) publish(now time.Time, elapsed time.Duration) {
	t.wall = max(now.Round(0).UnixNano(), t.wall+int64(elapsed))
	t.engine.shared.time.Store(t.wall)
}

// visitDue visits the principals that are due.
func (t *ticker) visitDue() {
	for w := t.asked.Swap(nil); w != nil; {
		next := w.next
		w.next = nil
		heap.Push(&t.heap, w)
		w = next
	}
	for len(t.heap) > 0 && t.heap[0].due <= t.wall {
		w := heap.Pop(&t.heap).(*visit)
		if p := w.who.p.Load(); p != nil {
			p.tell(&node{message: timeUp{}})
		}
	}
}

func (t *ticker) close() {
	close(t.stop)
	<-t.done
}

// visits is a heap by due time.
type visits []*visit

func (h visits) Len() int           { return len(h) }
func (h visits) Less(i, j int) bool { return h[i].due < h[j].due }
func (h visits) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements [heap.Interface].
func (h *visits) Push(w any) { *h = append(*h, w.(*visit)) }

// Pop implements [heap.Interface].
func (h *visits) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return w
}
