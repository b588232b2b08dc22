package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/interlock-authz/interlock/certs"
)

// ErrNoAnswer is a Workload API that has not answered yet.
var ErrNoAnswer = errors.New("workload: the Workload API does not answer")

// Source follows what a Workload API gives. It is safe for concurrent use.
type Source struct {
	choice  choice
	address string
	log     *slog.Logger
	client  *workloadapi.Client
	close   func() error
	ended   chan struct{} // closed when nobody follows any more

	mu      sync.Mutex
	answer  *workloadapi.X509Context // the newest that could be read
	fault   error                    // why the answer is not what the Workload API says now
	away    error                    // why the Workload API cannot be asked
	missing []spiffeid.TrustDomain   // those that the log knows of
	changed chan struct{}            // closed at the next change
}

// New connects to a Workload API and waits, for as long as ctx allows, until [Source.Load] gives something: also for a
// Workload API that is not there yet, and one that does not know us yet. It is [ErrOptions] if it cannot be asked;
// if ctx ends first, the error is ctx's and says what was wrong last: [ErrNoAnswer] or [ErrUnusable]. Whoever has a
// Source must close it.
func New(ctx context.Context, o Options) (*Source, error) {
	s := &Source{ended: make(chan struct{}), changed: make(chan struct{}), log: o.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.address, err = o.address(); err != nil {
		return nil, err
	}
	if s.choice, err = o.choice(); err != nil {
		return nil, err
	}
	s.fault = fmt.Errorf("%w at %s", ErrNoAnswer, s.address)
	if err := s.follow(); err != nil {
		return nil, err
	}
	if err := s.await(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// follow begins to ask.
func (s *Source) follow() (err error) {
	s.client, err = workloadapi.New(context.Background(), workloadapi.WithAddr(s.address),
		workloadapi.WithBackoffStrategy(retrying{}), workloadapi.WithDialOptions(reconnecting()))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrOptions, s.address, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.close = sync.OnceValue(func() error {
		cancel()
		<-s.ended
		return s.client.Close()
	})
	go func() {
		defer close(s.ended)
		s.watch(ctx)
	}()
	return nil
}

// await returns when there is something to load.
func (s *Source) await(ctx context.Context) error {
	for {
		next, _ := s.next()
		_, err := s.Load()
		if err == nil {
			return nil
		}
		select {
		case <-next:
		case <-s.ended:
			_, err := s.Load()
			return err
		case <-ctx.Done():
			return fmt.Errorf("%w; %w", context.Cause(ctx), err)
		}
	}
}

// Load gives the SVID, and the CAs of each trust domain, bound to it. It does not wait, and also works after
// Close. [ErrUnusable] says what is wrong with the newest answer, or with the SVID since it has ended; an answer of
// before is not given in its place.
func (s *Source) Load() (certs.Material, error) {
	s.mu.Lock()
	answer, fault, away := s.answer, s.fault, s.away
	s.mu.Unlock()
	switch {
	case answer == nil && away != nil:
		return certs.Material{}, fmt.Errorf("%w: %w; see that an agent listens there and lets us connect", fault, away)
	case fault != nil:
		return certs.Material{}, fault
	}
	return s.choice.material(answer)
}

// Watch calls changed once at the beginning, since there may have been a change before it, after each answer of the
// Workload API, and when the SVID ends with none to follow it. It returns when ctx is done.
func (s *Source) Watch(ctx context.Context, changed func()) {
	for ctx.Err() == nil {
		next, end := s.next()
		changed()
		var ends <-chan time.Time // never, if it has ended already
		if left := time.Until(end); left > 0 {
			ends = time.After(left + time.Millisecond)
		}
		select {
		case <-ctx.Done():
		case <-next:
		case <-ends:
		}
	}
}

// next is closed at the next change, unless the SVID ends before.
func (s *Source) next() (next <-chan struct{}, end time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer != nil {
		if svid, err := s.choice.svid(s.answer); err == nil {
			end = svid.Certificates[0].NotAfter
		}
	}
	return s.changed, end
}

// Close ends the connection, and returns when nothing of it runs any more. It may be called again.
func (s *Source) Close() error { return s.close() }

// watch asks until ctx is done, or the Workload API does not take the question.
func (s *Source) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.client.WatchX509Context(ctx, watcher{s, ctx})
		if status.Code(err) == codes.InvalidArgument {
			return // to be asked again would be no use, says the standard
		}
		// An agent that is stopping says that the call is canceled, and go-spiffe takes it for our word.
		select {
		case <-ctx.Done():
		case <-time.After(firstRetry):
		}
	}
}

// watcher implements [workloadapi.X509ContextWatcher].
type watcher struct {
	*Source
	ctx context.Context
}

// OnX509ContextUpdate implements [workloadapi.X509ContextWatcher].
func (w watcher) OnX509ContextUpdate(answer *workloadapi.X509Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.back()
	w.answer, w.fault = answer, nil
	missing := w.choice.missing(answer)
	if len(missing) > 0 && !slices.Equal(missing, w.missing) {
		w.log.Warn("the Workload API gives no CAs of trust domains, whose clients are refused", slog.Any("domains", missing))
	}
	w.missing = missing
	w.change()
}

// OnX509ContextWatchError implements [workloadapi.X509ContextWatcher].
func (w watcher) OnX509ContextWatchError(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	code := status.Code(err)
	switch {
	case w.ctx.Err() != nil: // Close
	case !ofConnection(err):
		w.back()
		w.blame(fmt.Errorf("%w: %w; see the agent's log", ErrUnusable, err))
	case code == codes.PermissionDenied:
		w.back()
		w.blame(fmt.Errorf("%w: it has no SVID for us: %w; register the workload", ErrUnusable, err))
	case code == codes.InvalidArgument:
		w.back()
		w.blame(fmt.Errorf("%w: it does not take the question, and is not asked again: %w; see that %s is a Workload API's, and start anew", ErrUnusable, err, w.address))
	case w.away == nil:
		w.away = err
		w.log.Warn("the Workload API cannot be asked; what it gave last stays", slog.String("address", w.address), slog.Any("error", err))
		w.change()
	default:
		w.away = err
	}
}

// ofConnection tells the end of a stream from an answer that go-spiffe could not read.
func ofConnection(err error) bool {
	_, known := status.FromError(err)
	return known || errors.Is(err, io.EOF)
}

// back is for whoever has heard of the Workload API. The caller has the lock.
func (s *Source) back() {
	if s.away != nil {
		s.log.Info("the Workload API answers again", slog.String("address", s.address))
	}
	s.away = nil
}

// blame has Load give a fault. One that is repeated at each attempt is no change. The caller has the lock.
func (s *Source) blame(fault error) {
	if s.fault == nil || s.fault.Error() != fault.Error() {
		s.fault = fault
		s.change()
	}
}

// change wakes those who wait. The caller has the lock.
func (s *Source) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}
