package actors

import (
	"container/heap"
	"slices"
	"sync/atomic"
	"time"
)

// tick is how often the published time moves on: what expires takes effect that much
// late at most.
const tick = time.Second

// ticker publishes the time and tells principals when time alone changes something for
// them. Its goroutine alone uses the heap; turns hand their wishes over on a stack.
type ticker struct {
	engine *Engine
	wishes atomic.Pointer[wish]
	heap   wishes
	start  time.Time
	wall   int64 // published last
	stop   chan struct{}
	done   chan struct{}
}

type wish struct {
	next *wish
	who  *visited
	due  int64
}

// visited is a principal as the ticker knows it; empty once it was passivated, so that
// wishes for a far day keep nothing alive.
type visited struct{ p atomic.Pointer[principal] }

// sweepEvery is after how many ticks wishes for principals that have left are dropped.
const sweepEvery = 60

func newTicker(e *Engine) *ticker {
	now := time.Now()
	t := &ticker{engine: e, start: now, wall: now.UnixNano(), stop: make(chan struct{}), done: make(chan struct{})}
	e.shared.time.Store(t.wall)
	return t
}

// watch asks for a visit when due, in nanoseconds of Unix time. It takes no lock.
func (t *ticker) watch(who *visited, due int64) {
	w := &wish{who: who, due: due}
	for {
		w.next = t.wishes.Load()
		if t.wishes.CompareAndSwap(w.next, w) {
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
		t.visit()
		if n%sweepEvery == 0 {
			t.heap = slices.DeleteFunc(t.heap, func(w *wish) bool { return w.who.p.Load() == nil })
			heap.Init(&t.heap)
		}
		t.engine.passivateIdle()
	}
}

// publish moves the published time on. It follows the wall clock, which jumps ahead when
// the machine slept or the clock was set, but never goes back, by which something that
// has expired would come to life: it advances by the monotonic clock then.
func (t *ticker) publish(now time.Time, elapsed time.Duration) {
	t.wall = max(now.Round(0).UnixNano(), t.wall+int64(elapsed))
	t.engine.shared.time.Store(t.wall)
}

func (t *ticker) visit() {
	for w := t.wishes.Swap(nil); w != nil; {
		next := w.next
		w.next = nil
		heap.Push(&t.heap, w)
		w = next
	}
	for len(t.heap) > 0 && t.heap[0].due <= t.wall {
		w := heap.Pop(&t.heap).(*wish)
		if p := w.who.p.Load(); p != nil {
			p.tell(&node{message: timeUp{}})
		}
	}
}

func (t *ticker) close() {
	close(t.stop)
	<-t.done
}

// wishes is a heap by due time.
type wishes []*wish

func (h wishes) Len() int           { return len(h) }
func (h wishes) Less(i, j int) bool { return h[i].due < h[j].due }
func (h wishes) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements [heap.Interface].
func (h *wishes) Push(w any) { *h = append(*h, w.(*wish)) }

// Pop implements [heap.Interface].
func (h *wishes) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return w
}
