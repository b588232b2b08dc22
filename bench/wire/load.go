package wire

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// patience is how long requests may take beyond the end of their interval.
const patience = 30 * time.Second

var errStalled = fmt.Errorf("wire: the server did not answer within %v", patience)

// newHistogram has room for what an interval can last.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(time.Microsecond), int64(time.Minute), 3)
}

// caller is a connection that asks again and again.
type caller struct {
	connection
	latencies *hdrhistogram.Histogram
}

// work asks until the end has come, and once at least.
func (c *caller) work(end time.Time) error {
	for start := time.Now(); ; {
		if err := c.ask(); err != nil {
			return err
		}
		now := time.Now()
		_ = c.latencies.RecordValue(int64(now.Sub(start))) // it is less than patience and an interval
		if !now.Before(end) {
			return nil
		}
		start = now
	}
}

// side is a server with its callers, and what has been measured of it.
type side struct {
	*server
	child   *child
	callers []*caller
	figures
}

// figures are one value for each round.
type figures struct{ rate, p50, p99, cpu []float64 }

// connect opens a connection for each caller of the site, up to n.
func (s *side) connect(ctx context.Context, p *protocol, at *site, n int) error {
	for i := range n {
		present, q := at.callers[i], s.question(principal(i))
		if s.name == proxied {
			present, q.header = at.ingress, forwardedHeader(present)
		}
		conn, err := p.dial(ctx, s.child.address, at.client(present), q)
		if err != nil {
			return fmt.Errorf("%s: connecting: %w", s.title, err)
		}
		s.callers = append(s.callers, &caller{connection: conn, latencies: newHistogram()})
	}
	return nil
}

// hangUp closes the connections, also under callers that wait for an answer.
func (s *side) hangUp() {
	for _, c := range s.callers {
		_ = c.Close() // nothing more is asked of it
	}
}

// measure lets all callers work for the time and adds what it came to. The processor time
// is read when no request is under way, before and after, so that it is the time of just
// the requests that are counted.
func (s *side) measure(ctx context.Context, each time.Duration) error {
	for _, c := range s.callers {
		c.latencies.Reset()
	}
	before, err := s.child.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := s.run(ctx, began.Add(each)); err != nil {
		return fmt.Errorf("%s: %w", s.title, err)
	}
	took := time.Since(began)
	after, err := s.child.cpu()
	if err != nil {
		return err
	}
	s.add(took, after-before)
	return nil
}

// run lets all callers work until the end. The first that fails ends them all.
func (s *side) run(ctx context.Context, end time.Time) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	defer time.AfterFunc(time.Until(end)+patience, func() { fail(errStalled) }).Stop()
	defer context.AfterFunc(ctx, s.hangUp)()
	var all sync.WaitGroup
	for _, c := range s.callers {
		all.Go(func() {
			if err := c.work(end); err != nil {
				fail(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

func (f *figures) record(requests int64, took, cpu time.Duration, latencies *hdrhistogram.Histogram) {
	quantile := func(q float64) float64 { return time.Duration(latencies.ValueAtQuantile(q)).Seconds() }
	f.rate = append(f.rate, float64(requests)/took.Seconds())
	f.p50 = append(f.p50, quantile(50))
	f.p99 = append(f.p99, quantile(99))
	f.cpu = append(f.cpu, cpu.Seconds()/float64(requests))
}

func (s *side) add(took, cpu time.Duration) {
	all := newHistogram()
	for _, c := range s.callers {
		all.Merge(c.latencies)
	}
	s.record(all.TotalCount(), took, cpu, all)
}

// close hangs up and ends the child.
func (s *side) close() error {
	s.hangUp()
	return s.child.stop()
}

// closeAll closes the sides at once.
func closeAll(sides []*side) error {
	var all sync.WaitGroup
	errs := make([]error, len(sides))
	for i, s := range sides {
		all.Go(func() { errs[i] = s.close() })
	}
	all.Wait()
	return errors.Join(errs...)
}
